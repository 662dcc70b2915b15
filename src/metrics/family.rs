//! Metrics as values of the `prometheus` crate, put together from numbers that are counted elsewhere.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use shards::contract::{BOUNDS, Timings};

/// The labels of one sample: names and values.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// One metric with its samples. Without any it is left out, as the format asks.
pub struct Family(MetricFamily);

impl Family {
    /// What goes up and down.
    pub fn gauge(name: &str, help: &str) -> Family {
        Family::new(name, help, MetricType::GAUGE)
    }

    /// What only goes up.
    pub fn counter(name: &str, help: &str) -> Family {
        Family::new(name, help, MetricType::COUNTER)
    }

    /// How long things took.
    pub fn histogram(name: &str, help: &str) -> Family {
        Family::new(name, help, MetricType::HISTOGRAM)
    }

    fn new(name: &str, help: &str, kind: MetricType) -> Family {
        let mut family = MetricFamily::default();
        family.set_name(format!("{PREFIX}{name}"));
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Family(family)
    }

    /// Adds a sample of a gauge or counter.
    pub fn add(&mut self, labels: Labels<'_>, value: f64) {
        let mut metric = labelled(labels);
        match self.0.get_field_type() {
            MetricType::COUNTER => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            _ => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        self.0.mut_metric().push(metric);
    }

    /// Adds a sample of a histogram.
    pub fn add_timings(&mut self, labels: Labels<'_>, timings: &Timings) {
        let mut below = 0;
        let buckets = BOUNDS.iter().zip(timings.buckets).map(|(bound, count)| {
            below += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound.as_secs_f64());
            bucket.set_cumulative_count(below);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(timings.count());
        histogram.set_sample_sum(timings.sum.as_secs_f64());
        let mut metric = labelled(labels);
        metric.set_histogram(histogram);
        self.0.mut_metric().push(metric);
    }

    /// Puts it among the others, if it has samples.
    pub fn put(self, families: &mut Vec<MetricFamily>) {
        if !self.0.get_metric().is_empty() {
            families.push(self.0);
        }
    }
}

fn labelled(labels: Labels<'_>) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}

/// What every name of ours begins with.
const PREFIX: &str = "dbbouncer_";
