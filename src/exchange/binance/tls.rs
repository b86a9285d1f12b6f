//! One TLS setup for both transports. The crypto provider is named here: with two in the process, or none, the first
//! handshake would panic. The roots are Mozilla's, compiled in: an image without CA files works like any other machine.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

/// Who is trusted and how it is spoken.
pub(super) fn client_config() -> Result<ClientConfig, rustls::Error> {
    let roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
