//! Line charts as SVG, both axes logarithmic, two in a row. Knows nothing of what is measured.

use std::ops::RangeInclusive;

/// One chart.
pub(super) struct Panel {
    pub(super) title: String,
    /// What the horizontal axis counts.
    pub(super) x: &'static str,
    /// The horizontal axis has a tick at each power of this.
    pub(super) step: f64,
    /// Name and points of each line; every value above 0.
    pub(super) lines: Vec<(&'static str, Vec<(f64, f64)>)>,
}

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = WIDTH - 44.0;
const TOP: f64 = 34.0;
const BASE: f64 = HEIGHT - 46.0;
const COLOURS: [&str; 2] = ["#2563eb", "#ea580c"];

/// From values to places, with a tick at each power of `step`.
struct Scale {
    step: f64,
    powers: RangeInclusive<i32>,
    places: [f64; 2],
}

impl Scale {
    fn new(values: impl Iterator<Item = f64>, step: f64, places: [f64; 2]) -> Self {
        let logs: Vec<f64> = values.map(|value| value.log(step)).collect();
        let low = logs.iter().copied().fold(f64::INFINITY, f64::min) + 1e-9;
        let high = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max) - 1e-9;
        let powers = low.floor() as i32..=high.ceil().max(low.floor() + 1.0) as i32;
        Self {
            step,
            powers,
            places,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let [first, last] = [self.powers.start(), self.powers.end()].map(|power| f64::from(*power));
        let [from, to] = self.places;
        from + (value.log(self.step) - first) / (last - first) * (to - from)
    }

    fn ticks(&self) -> impl Iterator<Item = (f64, String)> {
        let values = self.powers.clone().map(|power| self.step.powi(power));
        values.map(|value| (self.place(value), short(value)))
    }
}

/// The whole picture.
pub(super) fn draw(panels: &[Panel]) -> String {
    let width = WIDTH * 2.0;
    let height = HEIGHT * panels.len().div_ceil(2) as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (index, panel) in panels.iter().enumerate() {
        let (left, top) = ((index % 2) as f64 * WIDTH, (index / 2) as f64 * HEIGHT);
        out += &format!(
            "<g transform=\"translate({left} {top})\">\n{}</g>\n",
            panel_of(panel)
        );
    }
    out + "</svg>\n"
}

fn panel_of(panel: &Panel) -> String {
    let points = || panel.lines.iter().flat_map(|(_, points)| points);
    let x = Scale::new(points().map(|point| point.0), panel.step, [LEFT, RIGHT]);
    let y = Scale::new(points().map(|point| point.1), 10.0, [BASE, TOP]);
    let mut out = text(LEFT, TOP - 14.0, "start", &panel.title);
    out += &text((LEFT + RIGHT) / 2.0, BASE + 36.0, "middle", panel.x);
    for (at, label) in x.ticks() {
        out += &line(&[(at, TOP), (at, BASE)], "#d1d5db", 1);
        out += &text(at, BASE + 17.0, "middle", &label);
    }
    for (at, label) in y.ticks() {
        out += &line(&[(LEFT, at), (RIGHT, at)], "#d1d5db", 1);
        out += &text(LEFT - 7.0, at + 4.0, "end", &label);
    }
    for ((name, points), colour) in panel.lines.iter().zip(COLOURS) {
        let place = |point: &(f64, f64)| (x.place(point.0), y.place(point.1));
        let places: Vec<(f64, f64)> = points.iter().map(place).collect();
        out += &line(&places, colour, 2);
        if let Some((right, height)) = places.last() {
            out += &text(right + 6.0, height + 4.0, "start", name);
        }
    }
    out
}

fn line(points: &[(f64, f64)], colour: &str, width: u32) -> String {
    let place = |(x, y): &(f64, f64)| format!("{x:.1},{y:.1} ");
    let places: String = points.iter().map(place).collect();
    format!(
        "<polyline points=\"{places}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>\n"
    )
}

fn text(x: f64, y: f64, anchor: &str, text: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>\n")
}

/// 1000 as `1k`, 1000000 as `1M`.
fn short(value: f64) -> String {
    let units = [(1e6, "M"), (1e3, "k"), (0.0, "")];
    let unit = units.into_iter().find(|(least, _)| value >= *least);
    unit.map_or_else(String::new, |(least, unit)| {
        format!("{}{unit}", value / least.max(1.0))
    })
}
