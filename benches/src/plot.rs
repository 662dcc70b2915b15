//! A plot without a library: lines over numbers of clients, one panel for each mode.

use std::fmt::Write as _;

use crate::report::Cell;
use crate::talk::Mode;

/// The proxy's processor time for one transaction, as SVG.
pub fn cpu(cells: &[Cell]) -> String {
    let modes: Vec<Mode> = distinct(cells.iter().map(|cell| cell.mode));
    let peers: Vec<&str> = distinct(
        cells
            .iter()
            .filter(|cell| cell.cpu().is_some())
            .map(|cell| &cell.peer[..]),
    );
    let (width, height) = (PANEL * modes.len() as f64 + LEGEND, TOP + TALL + 40.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let highest = cells.iter().filter_map(Cell::cpu).fold(1.0, f64::max);
    for (index, &mode) in modes.iter().enumerate() {
        let left = PANEL * index as f64 + MARGIN;
        panel(&mut svg, cells, mode, &peers, left, highest);
    }
    for (index, peer) in peers.iter().enumerate() {
        let (x, y) = (PANEL * modes.len() as f64 + 10.0, TOP + 20.0 * index as f64);
        let colour = COLOURS[index % COLOURS.len()];
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"{}\">{peer}</text>",
            x + 18.0,
            y + 11.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, cells: &[Cell], mode: Mode, peers: &[&str], left: f64, highest: f64) {
    let of_mode: Vec<&Cell> = cells.iter().filter(|cell| cell.mode == mode).collect();
    let counts: Vec<usize> = distinct(of_mode.iter().map(|cell| cell.clients));
    let step = (PANEL - MARGIN - 20.0) / counts.len().max(1) as f64;
    let y_of = |value: f64| TOP + TALL * (1.0 - value / highest);
    let _ = writeln!(
        svg,
        "<text x=\"{left}\" y=\"20\">{}: CPU µs for one transaction, by clients</text>",
        mode.name()
    );
    for tick in 0..=4 {
        let value = highest * f64::from(tick) / 4.0;
        let (y, right) = (y_of(value), left + step * counts.len() as f64);
        let _ = writeln!(
            svg,
            "<line x1=\"{left}\" x2=\"{right}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{value:.0}</text>",
            left - 5.0,
            y + 4.0
        );
    }
    let x_of = |index: usize| left + step * (index as f64 + 0.5);
    for (index, count) in counts.iter().enumerate() {
        let (x, y) = (x_of(index), TOP + TALL + 18.0);
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{count}</text>"
        );
    }
    for (number, peer) in peers.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let points: Vec<String> = counts
            .iter()
            .enumerate()
            .filter_map(|(index, count)| {
                let found = of_mode
                    .iter()
                    .find(|cell| cell.peer == **peer && cell.clients == *count)?;
                Some(format!("{},{}", x_of(index), y_of(found.cpu()?)))
            })
            .collect();
        let points = points.join(" ");
        let _ = writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        );
    }
}

fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

const PANEL: f64 = 380.0;
const MARGIN: f64 = 45.0;
const LEGEND: f64 = 150.0;
const TOP: f64 = 40.0;
const TALL: f64 = 280.0;
const COLOURS: [&str; 7] = [
    "#888888", "#1b9e77", "#7570b3", "#d95f02", "#e6ab02", "#e7298a", "#66a61e",
];
