//! A value of PgBouncer's on its way to a key of ours, which may take it or not.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Remarks;
use super::yaml::Yaml;
use crate::config::{Span, objection};

/// A value with its name. What our key does not take is said.
pub struct Offer<'a> {
    /// Where it stands: `[pgbouncer] listen_port`.
    pub name: &'a str,
    /// What stands there.
    pub text: &'a str,
    pub remarks: &'a mut Remarks,
}

impl Offer<'_> {
    /// Seconds, perhaps with a fraction, for a key that takes times of this span; zero switches off in both (see
    /// [`lifetime`](Offer::lifetime) for the one where it does not).
    /// One that is out of it becomes the nearest that is not.
    pub fn time(&mut self, yaml: &mut Yaml, depth: usize, key: &str, span: Span) {
        let Some(said) = seconds(self.text) else {
            return self.leave_out("it is no number of seconds");
        };
        let Some(time) = span.nearest(said) else {
            return self.leave_out("it cannot be switched off here");
        };
        let time = written(time);
        if time != written(said) {
            self.becomes(key, &time, &format!("which must be {span}"));
        }
        yaml.plain(depth, key, time);
    }

    /// How old a connection may be. With PgBouncer zero has it used once, and with us it makes it live for ever.
    pub fn lifetime(&mut self, yaml: &mut Yaml, depth: usize) {
        if seconds(self.text) != Some(Duration::ZERO) {
            return self.time(yaml, depth, "max_lifetime", Span::AGE);
        }
        let why = "the least: none is closed after one use, and 0 would be for ever here";
        self.becomes("max_lifetime", "1s", why);
        yaml.plain(depth, "max_lifetime", "1s");
    }

    /// A number, if it is one of these. Of more than can be had it becomes as much as can be; too little
    /// would shut everybody out.
    pub fn count(&mut self, key: &str, bounds: &RangeInclusive<usize>) -> Option<usize> {
        let number: Option<u64> = self.text.parse().ok();
        let number = number.map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        let (least, most) = (*bounds.start(), *bounds.end());
        match number {
            Some(number) if number > most => {
                self.becomes(key, &most.to_string(), "the most that there can be");
                Some(most)
            }
            Some(number) if number >= least => Some(number),
            _ => {
                self.leave_out(&format!("{key} is a whole number from {least} to {most}"));
                None
            }
        }
    }

    /// The same, written at once.
    pub fn number(
        &mut self,
        yaml: &mut Yaml,
        depth: usize,
        key: &str,
        bounds: &RangeInclusive<usize>,
    ) {
        if let Some(number) = self.count(key, bounds) {
            yaml.plain(depth, key, number);
        }
    }

    /// A port of ours or of a database; here none listens on port 0.
    pub fn port(&mut self, yaml: &mut Yaml, depth: usize, key: &str) {
        match objection(&["tenants", "NAME", "port"], self.text) {
            Some(why) => self.leave_out(&why),
            None => yaml.plain(depth, key, self.text),
        }
    }

    /// Says that it is not taken.
    pub fn leave_out(&mut self, why: &str) {
        self.remarks.left_out(self.name, self.text, why);
    }

    fn becomes(&mut self, key: &str, value: &str, why: &str) {
        let Offer {
            name,
            text,
            remarks,
        } = self;
        remarks.add(format!("{name} = {text} becomes {key}: {value}, {why}"));
    }
}

/// PgBouncer's seconds. What is too long for any time is the longest.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    let makes_sense = seconds.is_finite() && seconds >= 0.0;
    makes_sense.then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// A time of ours, to the millisecond.
fn written(time: Duration) -> String {
    let millis = (time.as_secs_f64() * 1000.0).round() as u128;
    match millis {
        0 => "0".to_owned(),
        millis if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        millis => format!("{millis}ms"),
    }
}
