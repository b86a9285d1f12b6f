//! What is said of a series, and when: changes leave only while it is live, before the result that shows them.

use super::{News, Unsaid, Watched};
use crate::engine::effect::Effect;
use crate::engine::moment::Moment;
use crate::engine::result;
use crate::market::{Origin, SeriesStatus};
use crate::signal::{ChangeBody, Correction, SignalChange, Source};
use crate::store::{Occasion, Write};

impl Watched {
    /// Says what may be said now: status, changes, the result.
    pub(super) fn settle(&mut self, news: News, now: &Moment, out: &mut Vec<Effect>) {
        let status = self.status_at(now);
        let turned = status != self.status;
        self.status = status;
        if status != SeriesStatus::Live {
            if turned {
                self.result.status = status;
                self.result.event_time = now.exchange;
                out.push(Effect::result(self.result.clone(), Occasion::Status));
            }
            return;
        }
        let first = self.base.is_none();
        if first {
            self.base = self
                .series
                .last()
                .map(|last| self.series.close_time(last.open_time));
        }
        for unsaid in std::mem::take(&mut self.unsaid) {
            let body = self.said(unsaid, now);
            out.push(Effect::Write(Write::Change(body)));
        }
        let occasion = match news {
            _ if first => Occasion::FirstLive,
            _ if turned => Occasion::Status,
            News::Close => Occasion::Close,
            News::OpenCandle => Occasion::Update,
            News::Nothing => return,
        };
        self.result = result::of(self, now.exchange);
        out.push(Effect::result(self.result.clone(), occasion));
    }

    fn said(&self, unsaid: Unsaid, now: &Moment) -> ChangeBody {
        match unsaid {
            Unsaid::Correction(correction) => ChangeBody::Correction(Correction {
                event_time: now.exchange,
                ..*correction
            }),
            Unsaid::Signal {
                analysis,
                previous,
                price,
                origin,
            } => {
                let next_close = self
                    .series
                    .close_time(self.key.interval.after(analysis.open_time));
                let source = match origin {
                    _ if now.exchange > next_close => Source::CatchUp,
                    Origin::Stream => Source::Stream,
                    Origin::Rest => Source::Rest,
                };
                ChangeBody::Signal(SignalChange {
                    key: self.key.clone(),
                    recommendation: analysis.recommendation,
                    previous,
                    confidence: analysis.confidence(),
                    price,
                    hama_close: analysis.values.hama_close.unwrap_or(price),
                    ma: analysis.values.ma.unwrap_or(price),
                    deviation_pct: analysis.values.deviation_pct.unwrap_or(0.0),
                    candle_open_time: analysis.open_time,
                    candle_close_time: self.series.close_time(analysis.open_time),
                    last_cross_direction: analysis.last_cross_direction,
                    last_cross_time: analysis.last_cross_time,
                    event_time: now.exchange,
                    source,
                })
            }
        }
    }
}
