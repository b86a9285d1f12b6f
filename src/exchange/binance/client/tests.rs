//! One connection for many requests, as the exchange offers it (HTTP/2), and what becomes of it when it falls silent.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;

/// Of 127.0.0.1, until 2100; nobody but this test trusts it.
const CERTIFICATE: &str = "\
    MIIBUjCB+aADAgECAgEBMAoGCCqGSM49BAMCMBExDzANBgNVBAMMBmEgdGVzdDAgFw0wMDAxMDEwMDAwMDBaGA8yMTAwMDEwMTAw\
    MDAwMFowETEPMA0GA1UEAwwGYSB0ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEmlykcec5GtwlvztC8sroNsTd5938G+wD\
    /9GLSsqejRB98rMEGe0QewoBCSY1fhEMj24gVf1sGWYuBvVF8WSW8KNAMD4wDwYDVR0RBAgwBocEfwAAATAMBgNVHRMBAf8EAjAA\
    MB0GA1UdDgQWBBRym0kCFmoDU2aAMasuBP/LCAyo1TAKBggqhkjOPQQDAgNIADBFAiAouaY8J0Onjv8D/kSFtepOg/aSycpdhx4a\
    ceE6pkBItwIhALrRZE0rbNvJhXXoXwgrtcLsbktqtTRYMv5rwU/Ileo+";
const KEY: &str = "\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgPXudD9W7JaE3a1a64ts2Dfdj3xWW7ymjbrUtWCTug4WhRANCAASa\
    XKRx5zka3CW/O0Lyyug2xN3n3fwb7AP/0YtKyp6NEH3yswQZ7RB7CgEJJjV+EQyPbiBV/WwZZi4G9UXxZJbw";

/// How long a request waits for its answer, as `Times::answer` has it.
const PATIENCE: Duration = Duration::from_secs(10);

fn certificate() -> CertificateDer<'static> {
    BASE64_STANDARD.decode(CERTIFICATE).unwrap().into()
}

fn trusting() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(certificate()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn acceptor() -> TlsAcceptor {
    let key = PrivatePkcs8KeyDer::from(BASE64_STANDARD.decode(KEY).unwrap());
    let mut tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate()], key.into())
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(tls))
}

/// The next connection; nothing is ever said on it.
async fn silent(listener: &TcpListener, acceptor: &TlsAcceptor) -> TlsStream<TcpStream> {
    let (socket, _) = listener.accept().await.unwrap();
    acceptor.accept(socket).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn h09_a_connection_of_many_requests_that_falls_silent_is_dropped_and_another_is_dialled() {
    let (listener, acceptor) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), acceptor());
    let url = format!("https://{}/fapi/v1/time", listener.local_addr().unwrap());
    let url = Url::parse(&url).unwrap();
    let client = client(Arc::new(Way::Straight), trusting(), PATIENCE);
    let ask = async || {
        tokio::time::timeout(PATIENCE, get(&client, &url))
            .await
            .is_ok()
    };
    let (answered, first) = tokio::join!(ask(), silent(&listener, &acceptor));
    assert!(!answered && first.get_ref().1.alpn_protocol() == Some(b"h2"));
    let dialled = async {
        let within = ASK_EVERY + ANSWER_WITHIN + PATIENCE;
        tokio::time::timeout(within, silent(&listener, &acceptor)).await
    };
    let asking = async {
        loop {
            ask().await;
        }
    };
    tokio::select! {
        second = dialled => assert!(second.is_ok(), "the requests go on into the silent one"),
        () = asking => {}
    }
}
