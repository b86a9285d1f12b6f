//! One series from candle to recommendation: owns its `Hama` and its cross state, and nothing else of it.
//! Must hold: the same candles give the same bits, and `peek(c)` is what `push(c)` would answer. A clone is a
//! checkpoint: a corrected candle is recomputed forward from it, EMA and cross state included.
//! Candles, holes and which candle is closed are the engine's.

use super::cross::CrossState;
use super::{Bollinger, Cross, LiveView, Recommendation, confidence};
use crate::indicator::{Hama, HamaParams, HamaValues};
use crate::market::{Candle, OpenTime};

/// What is known of a series on one candle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Analysis {
    /// The candle.
    pub open_time: OpenTime,
    /// The indicator on it.
    pub values: HamaValues,
    /// Whether `hama_close` crossed `ma` on it.
    pub cross: Cross,
    /// Way of the last cross, this candle's included: 1 up, -1 down, 0 before the first.
    pub last_cross_direction: i8,
    /// Open time of the candle of that cross.
    pub last_cross_time: Option<OpenTime>,
    /// What to do.
    pub recommendation: Recommendation,
}

impl Analysis {
    /// 0.3 to 1, unrounded (`signal::confidence`).
    pub fn confidence(&self) -> f64 {
        confidence(
            self.recommendation,
            self.values.deviation_pct.unwrap_or(0.0),
        )
    }

    /// The bands as a result carries them; none before 400 candles.
    pub fn bollinger(&self) -> Option<Bollinger> {
        Some(Bollinger {
            upper: self.values.bb_upper?,
            basis: self.values.bb_basis?,
            lower: self.values.bb_lower?,
            width: self.values.bb_width?,
            state: self.values.bb_state?,
        })
    }

    /// This analysis of an open candle as a result's `live`; `price` is its close, the last price seen.
    pub fn live_view(&self, price: f64) -> LiveView {
        LiveView {
            recommendation: Some(self.recommendation),
            price,
            hama_close: self.values.hama_close,
            ma: self.values.ma,
            deviation_pct: self.values.deviation_pct,
        }
    }
}

/// One series' indicator and cross state after its last closed candle.
#[derive(Debug, Clone)]
pub struct Analyzer {
    hama: Hama,
    crosses: CrossState,
    last: Option<Analysis>,
    candles: usize,
}

impl Default for Analyzer {
    fn default() -> Self {
        Self::new(HamaParams::default())
    }
}

impl Analyzer {
    /// A series before its first candle.
    pub fn new(params: HamaParams) -> Self {
        Self {
            hama: Hama::new(params),
            crosses: CrossState::NONE,
            last: None,
            candles: 0,
        }
    }

    /// Takes the closed `candle` in and answers with what holds now.
    pub fn push(&mut self, candle: &Candle) -> Analysis {
        let values = self.hama.push(candle);
        let (analysis, crosses) = self.analysis(values, candle.open_time);
        self.crosses = crosses;
        self.last = Some(analysis);
        self.candles += 1;
        analysis
    }

    /// What would hold if the open `candle` closed as it stands, its cross counted. Moves nothing.
    pub fn peek(&self, candle: &Candle) -> Analysis {
        self.analysis(self.hama.peek(candle), candle.open_time).0
    }

    /// What holds since the last closed candle; none before the first.
    pub fn last(&self) -> Option<&Analysis> {
        self.last.as_ref()
    }

    /// How many candles were pushed.
    pub fn candles(&self) -> usize {
        self.candles
    }

    fn analysis(&self, values: HamaValues, open_time: OpenTime) -> (Analysis, CrossState) {
        let (cross, crosses) = self.crosses.after(&values, open_time);
        let min_deviation_pct = self.hama.params().thresholds().min_deviation_pct;
        let analysis = Analysis {
            open_time,
            values,
            cross,
            last_cross_direction: crosses.last().number(),
            last_cross_time: crosses.last_time(),
            recommendation: recommendation(crosses.last(), &values, min_deviation_pct),
        };
        (analysis, crosses)
    }
}

/// BUY after a cross up while `hama_close` >= `ma`, SELL after a cross down while `hama_close` <= `ma`, each from a
/// distance of `min_deviation_pct` percent on; else HOLD.
fn recommendation(last: Cross, values: &HamaValues, min_deviation_pct: f64) -> Recommendation {
    let (Some(hama_close), Some(ma), Some(deviation_pct)) =
        (values.hama_close, values.ma, values.deviation_pct)
    else {
        return Recommendation::Hold;
    };
    let is_clear = deviation_pct >= min_deviation_pct;
    match last {
        Cross::Up if is_clear && hama_close >= ma => Recommendation::Buy,
        Cross::Down if is_clear && hama_close <= ma => Recommendation::Sell,
        Cross::Up | Cross::Down | Cross::None => Recommendation::Hold,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candle(i: i64, close: f64) -> Candle {
        Candle {
            open_time: OpenTime::from_ms(i * 60_000),
            open: close,
            high: close,
            low: close,
            close,
            volume: 1.0,
        }
    }

    fn values(hama_close: f64, ma: f64) -> HamaValues {
        HamaValues {
            hama_close: Some(hama_close),
            ma: Some(ma),
            deviation_pct: Some((hama_close - ma).abs() / ma * 100.0),
            ..HamaValues::default()
        }
    }

    #[test]
    fn a_recommendation_needs_its_cross_its_side_and_its_distance() {
        let of = |last, hama_close, ma| recommendation(last, &values(hama_close, ma), 0.1);
        assert_eq!(of(Cross::Up, 1_001.0, 1_000.0), Recommendation::Buy); // 0.1 % exactly
        assert_eq!(of(Cross::Up, 1_000.9, 1_000.0), Recommendation::Hold);
        assert_eq!(of(Cross::Up, 990.0, 1_000.0), Recommendation::Hold);
        assert_eq!(of(Cross::Down, 999.0, 1_000.0), Recommendation::Sell);
        assert_eq!(of(Cross::Down, 999.1, 1_000.0), Recommendation::Hold);
        assert_eq!(of(Cross::Down, 1_010.0, 1_000.0), Recommendation::Hold);
        assert_eq!(of(Cross::None, 1_010.0, 1_000.0), Recommendation::Hold);
        let missing = recommendation(Cross::Up, &HamaValues::default(), 0.1);
        assert_eq!(missing, Recommendation::Hold);
    }

    #[test]
    fn an_open_candles_cross_is_counted_and_moves_nothing() {
        let mut analyzer = Analyzer::default();
        for i in 0..150 {
            analyzer.push(&candle(i, 100.0 - 0.01 * (i as f64)));
        }
        let confirmed = *analyzer.last().unwrap();
        assert_eq!(confirmed.last_cross_direction, 0);
        let risen = analyzer.peek(&candle(150, 200.0));
        assert_eq!((risen.cross, risen.last_cross_direction), (Cross::Up, 1));
        assert_eq!(risen.last_cross_time, Some(OpenTime::from_ms(150 * 60_000)));
        assert_eq!(
            risen.live_view(200.0).recommendation,
            Some(Recommendation::Buy)
        );
        assert_eq!(analyzer.last(), Some(&confirmed));
        assert_eq!(analyzer.candles(), 150);
        let fallen_back = analyzer.peek(&candle(150, 98.0));
        assert_eq!(fallen_back.last_cross_direction, 0);
        assert_eq!(analyzer.push(&candle(150, 200.0)), risen);
    }

    #[test]
    fn a_corrected_candle_is_recomputed_from_a_checkpoint_as_if_it_had_always_been_so() {
        let price = |i: i64| 100.0 + ((i * i) % 37) as f64 / 8.0;
        let mut straight = Analyzer::default();
        for i in 0..700 {
            straight.push(&candle(i, if i == 420 { 300.0 } else { price(i) }));
        }
        let mut checkpoint = Analyzer::default();
        for i in 0..420 {
            checkpoint.push(&candle(i, price(i)));
        }
        let mut wrong = checkpoint.clone();
        for i in 420..700 {
            wrong.push(&candle(i, price(i)));
        }
        checkpoint.push(&candle(420, 300.0));
        for i in 421..700 {
            checkpoint.push(&candle(i, price(i)));
        }
        assert_eq!(checkpoint.last(), straight.last());
        assert_ne!(checkpoint.last(), wrong.last());
        assert_eq!(checkpoint.candles(), 700);
    }
}
