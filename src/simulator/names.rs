//! The coins of the generated market: names as a USD-M perpetual carries them and a usual price in USDT, in the order
//! of their turnover. Names beyond the list are made of syllables, so that 600 contracts have 600 names.

/// Base asset and usual price in USDT, most traded first.
pub(super) const COINS: [(&str, f64); 130] = [
    ("BTC", 83_000.0),
    ("ETH", 3_100.0),
    ("SOL", 148.0),
    ("XRP", 2.15),
    ("DOGE", 0.162),
    ("BNB", 905.0),
    ("1000PEPE", 0.0071),
    ("ZEC", 412.0),
    ("SUI", 1.92),
    ("HYPE", 33.6),
    ("ADA", 0.47),
    ("LINK", 13.4),
    ("AVAX", 14.8),
    ("ASTER", 1.16),
    ("LTC", 92.5),
    ("ENA", 0.291),
    ("BCH", 521.0),
    ("TAO", 318.0),
    ("NEAR", 2.31),
    ("WLD", 0.71),
    ("币安人生", 0.128),
    ("UNI", 7.05),
    ("AAVE", 176.0),
    ("1000SHIB", 0.0088),
    ("DOT", 2.78),
    ("TRX", 0.284),
    ("FIL", 2.02),
    ("ARB", 0.235),
    ("OP", 0.352),
    ("1000BONK", 0.0104),
    ("APT", 2.93),
    ("WIF", 0.402),
    ("TIA", 0.655),
    ("INJ", 6.21),
    ("ICP", 5.12),
    ("ETC", 14.6),
    ("PUMP", 0.00312),
    ("FARTCOIN", 0.287),
    ("TRUMP", 6.94),
    ("XLM", 0.251),
    ("HBAR", 0.148),
    ("ATOM", 2.62),
    ("SEI", 0.142),
    ("CRV", 0.431),
    ("ONDO", 0.532),
    ("PENGU", 0.0121),
    ("VIRTUAL", 0.951),
    ("LDO", 0.722),
    ("JUP", 0.244),
    ("RENDER", 1.82),
    ("FET", 0.262),
    ("1000FLOKI", 0.0489),
    ("GALA", 0.0081),
    ("SAND", 0.163),
    ("MANA", 0.191),
    ("AXS", 1.17),
    ("DYDX", 0.247),
    ("STRK", 0.151),
    ("ZK", 0.0452),
    ("ALGO", 0.146),
    ("VET", 0.0142),
    ("THETA", 0.403),
    ("EGLD", 8.61),
    ("XTZ", 0.512),
    ("EOS", 0.611),
    ("NEO", 4.21),
    ("QNT", 83.2),
    ("GRT", 0.0551),
    ("SNX", 0.622),
    ("COMP", 34.9),
    ("MKR", 1_480.0),
    ("YFI", 4_350.0),
    ("SUSHI", 0.412),
    ("1INCH", 0.172),
    ("RUNE", 0.711),
    ("KAVA", 0.131),
    ("ENS", 12.1),
    ("IMX", 0.334),
    ("APE", 0.291),
    ("GMT", 0.0213),
    ("PEOPLE", 0.0114),
    ("LUNA2", 0.0821),
    ("1000LUNC", 0.0332),
    ("MASK", 0.724),
    ("BLUR", 0.0362),
    ("CFX", 0.0791),
    ("ID", 0.0832),
    ("PENDLE", 2.61),
    ("ARKM", 0.271),
    ("1000SATS", 0.0000214),
    ("ORDI", 4.42),
    ("MEME", 0.00141),
    ("JTO", 0.471),
    ("PYTH", 0.0872),
    ("MANTA", 0.102),
    ("ALT", 0.0161),
    ("DYM", 0.0951),
    ("ETHFI", 0.861),
    ("BOME", 0.000921),
    ("W", 0.0512),
    ("TNSR", 0.112),
    ("SAGA", 0.0753),
    ("REZ", 0.00712),
    ("NOT", 0.000683),
    ("IO", 0.193),
    ("ZRO", 1.34),
    ("LISTA", 0.231),
    ("1MBABYDOGE", 0.000712),
    ("NEIRO", 0.000153),
    ("TURBO", 0.00221),
    ("POPCAT", 0.121),
    ("MOODENG", 0.0842),
    ("GOAT", 0.0471),
    ("PNUT", 0.0952),
    ("ACT", 0.0213),
    ("MOVE", 0.0561),
    ("ME", 0.362),
    ("USUAL", 0.0272),
    ("KAITO", 0.651),
    ("BERA", 1.12),
    ("IP", 3.71),
    ("LAYER", 0.213),
    ("INIT", 0.114),
    ("SYRUP", 0.271),
    ("WLFI", 0.141),
    ("LINEA", 0.0112),
    ("XPL", 0.221),
    ("AVNT", 0.412),
    ("BARD", 0.723),
    ("我踏马来了", 0.0231),
];

const FIRST: [&str; 25] = [
    "ZOR", "KEL", "MIR", "VAN", "TOK", "LUM", "NEX", "ORB", "PYR", "QUA", "RIV", "SOR", "TAL",
    "UMB", "VEL", "WYN", "XEN", "YAR", "ZIN", "BRI", "CAL", "DRA", "ELM", "FEN", "GOL",
];
const SECOND: [&str; 20] = [
    "A", "AI", "ON", "EX", "IQ", "OS", "UM", "YX", "FI", "DAO", "NET", "PAD", "SWAP", "BIT", "INU",
    "CAT", "VERSE", "LAB", "ZK", "PAY",
];

/// The base asset of rank `rank` (0: the most traded) and its usual price in USDT.
pub(super) fn coin(rank: usize) -> (String, f64) {
    if let Some((name, price)) = COINS.get(rank) {
        return ((*name).to_owned(), *price);
    }
    let made = rank - COINS.len();
    let name = format!(
        "{}{}",
        FIRST[made % FIRST.len()],
        SECOND[made / FIRST.len() % SECOND.len()]
    );
    // Prices from 0.001 to 30, spread evenly over the digits.
    let price = 0.001 * 10_f64.powf((made * 37 % 100) as f64 * 0.045);
    (name, price)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn six_hundred_contracts_have_six_hundred_names() {
        let names: BTreeSet<_> = (0..600).map(|rank| coin(rank).0).collect();
        assert_eq!(names.len(), 600);
    }
}
