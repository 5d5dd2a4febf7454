//! Line charts as inline SVG: one series or several, axes with round ticks, colours by CSS class.

use serde::{Deserialize, Serialize};

/// Size of the drawing, in SVG units; small, so that text stays readable on a phone.
const SIZE: (f64, f64) = (360.0, 210.0);
/// Left, right, top, bottom.
const MARGIN: (f64, f64, f64, f64) = (46.0, 12.0, 10.0, 36.0);
/// Most points drawn; longer series are thinned evenly, the last point stays.
const MAX_POINTS: usize = 240;

/// One line of a chart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its colour as a CSS class of the page: `own`, or `s0` to `s4`.
    pub colour: String,
    /// (x, y), x ascending.
    pub points: Vec<(f64, f64)>,
}

/// A chart of `points`, x ascending; empty text for fewer than two finite points.
pub(super) fn line_chart(points: &[(f64, f64)], x_label: &str, y_label: &str) -> String {
    let (name, colour, points) = (y_label.to_owned(), String::new(), points.to_vec());
    chart(&[Series { name, colour, points }], x_label, y_label)
}

/// A chart of several lines over common axes; empty text for fewer than two finite points in all.
pub(super) fn chart(series: &[Series], x_label: &str, y_label: &str) -> String {
    let finite = |p: &&(f64, f64)| p.0.is_finite() && p.1.is_finite();
    let all: Vec<(f64, f64)> =
        series.iter().flat_map(|s| s.points.iter().filter(finite).copied()).collect();
    if all.len() < 2 {
        return String::new();
    }
    let frame = Frame {
        x: Axis::new(all.iter().map(|p| p.0)),
        y: Axis::new(all.iter().map(|p| p.1)),
        labels: (escape(x_label), escape(y_label)),
    };
    let (width, height) = SIZE;
    let (x_label, y_label) = &frame.labels;
    let mut svg = format!(
        "<svg class=\"line\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{y_label} by {x_label}\">"
    );
    svg += &frame.ticks();
    for one in series {
        let points: Vec<(f64, f64)> = one.points.iter().filter(finite).copied().collect();
        svg += &frame.line(&one.colour, &points);
    }
    svg += &format!(
        "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{x_label}</text></svg>",
        width - MARGIN.1,
        height - 4.0
    );
    svg
}

/// Both axes of a drawing, and their escaped labels.
struct Frame {
    x: Axis,
    y: Axis,
    labels: (String, String),
}

impl Frame {
    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let ((width, height), (left, right, top, bottom)) = (SIZE, MARGIN);
        let x = left + self.x.place(x) * (width - left - right);
        (x, height - bottom - self.y.place(y) * (height - top - bottom))
    }

    /// Grid lines and the numbers of both axes.
    fn ticks(&self) -> String {
        let ((width, height), (left, right, _, bottom)) = (SIZE, MARGIN);
        let mut svg = String::new();
        for tick in self.y.ticks() {
            let (_, at) = self.place((self.x.low, tick));
            svg += &format!(
                "<line class=\"grid\" x1=\"{left}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                width - right,
                left - 6.0,
                at + 4.0,
                self.y.label(tick)
            );
        }
        for tick in self.x.ticks() {
            svg += &format!(
                "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                self.place((tick, self.y.low)).0,
                height - bottom + 16.0,
                self.x.label(tick)
            );
        }
        svg
    }

    /// One line, with a dot for each of its points where they are few.
    fn line(&self, colour: &str, points: &[(f64, f64)]) -> String {
        let colour = if colour.is_empty() { String::new() } else { format!(" {}", escape(colour)) };
        let path: Vec<String> = thin(points)
            .iter()
            .map(|&p| self.place(p))
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let mut svg = format!("<polyline class=\"series{colour}\" points=\"{}\"/>", path.join(" "));
        for &(x, y) in points.iter().filter(|_| points.len() <= 24) {
            let (cx, cy) = self.place((x, y));
            svg += &format!(
                "<circle class=\"dot{colour}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3.2\"><title>{} {}: {y:.4}</title></circle>",
                self.labels.0,
                self.x.label(x),
            );
        }
        svg
    }
}

/// A range with round ticks.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64> + Clone) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        let spread = if high > low { high - low } else { high.abs().max(1.0) * 0.1 };
        let rough = spread / 4.0;
        let decade = 10f64.powf(rough.log10().floor());
        let factor = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|f| f * decade >= rough * 0.999);
        let step = factor.unwrap_or(10.0) * decade;
        let (first, last) =
            ((low / step + 1e-9).floor() * step, (high / step - 1e-9).ceil() * step);
        Self { low: first, high: last.max(first + step), step }
    }

    /// 0 at the low end, 1 at the high end.
    fn place(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    fn ticks(&self) -> Vec<f64> {
        let n = ((self.high - self.low) / self.step).round() as usize;
        (0..=n).map(|i| self.low + i as f64 * self.step).collect()
    }

    /// As many decimals as the step needs; thousands as `k`.
    fn label(&self, value: f64) -> String {
        if self.step >= 1000.0 && value != 0.0 {
            return format!("{}k", value / 1000.0);
        }
        let needed = (0..6).find(|&d| {
            let scaled = self.step * 10f64.powi(d);
            (scaled - scaled.round()).abs() < 1e-6 * scaled.max(1.0)
        });
        let decimals = usize::try_from(needed.unwrap_or(6)).expect("a small number");
        // minus zero prints as "-0"
        format!("{:.decimals$}", if value.abs() < self.step * 1e-9 { 0.0 } else { value })
    }
}

fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let stride = points.len().div_ceil(MAX_POINTS).max(1);
    let mut kept: Vec<(f64, f64)> = points.iter().copied().step_by(stride).collect();
    if kept.last() != points.last() {
        kept.extend(points.last());
    }
    kept
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::{Axis, Series, chart, line_chart, thin};

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        for (values, ticks, labels) in [
            (vec![0.0, 1.0], vec![0.0, 0.25, 0.5, 0.75, 1.0], ["0.00", "0.25"]),
            (vec![3.1, 6.8], vec![3.0, 4.0, 5.0, 6.0, 7.0], ["3", "4"]),
            (vec![0.0, 4000.0], vec![0.0, 1000.0, 2000.0, 3000.0, 4000.0], ["0", "1k"]),
        ] {
            let axis = Axis::new(values.iter().copied());
            assert_eq!(axis.ticks(), ticks, "{values:?}");
            assert_eq!([axis.label(ticks[0]), axis.label(ticks[1])], labels, "{values:?}");
        }
        let flat = Axis::new([2.0, 2.0].into_iter());
        assert!(flat.low <= 2.0 && flat.high > 2.0);
    }

    #[test]
    fn a_chart_escapes_its_labels_and_needs_two_points() {
        let svg = line_chart(&[(0.0, 1.0), (1.0, 2.0)], "<b>", "a & b");
        assert!(svg.contains("&lt;b&gt;") && svg.contains("a &amp; b") && !svg.contains("<b>"));
        assert_eq!(line_chart(&[(0.0, 1.0), (1.0, f64::NAN)], "x", "y"), "");
    }

    #[test]
    fn several_lines_share_their_axes() {
        let line = |colour: &str, points: &[(f64, f64)]| Series {
            name: colour.to_owned(),
            colour: colour.to_owned(),
            points: points.to_vec(),
        };
        let svg =
            chart(&[line("own", &[(0.0, 0.0), (1.0, 1.0)]), line("s1", &[(1.0, 4.0)])], "x", "y");
        assert!(svg.contains("series own") && svg.contains("series s1") && svg.contains(">4<"));
        assert_eq!(chart(&[line("own", &[(0.0, 0.0)]), line("s1", &[])], "x", "y"), "");
    }

    #[test]
    fn long_series_are_thinned_to_their_end() {
        let points: Vec<(f64, f64)> = (0..1000).map(|i| (f64::from(i), 0.0)).collect();
        let thinned = thin(&points);
        assert!(thinned.len() <= 241 && thinned.last() == points.last());
    }
}
