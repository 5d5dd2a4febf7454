//! Fills the page template; all text is escaped by the template engine.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value, context};
use serde::Serialize;

use super::Report;
use super::svg::{self, Series};
use crate::EvalError;

/// The page of a report.
pub(super) fn render(report: &Report) -> Result<String, EvalError> {
    render_page(include_str!("../../templates/report.html.j2"), report)
}

/// A self-contained page from a template of one's own. It sees `values` as `r`, the style sheet of reports as
/// `report.css`, and the filters `int`, `fix`, `pct`, `signed`, `mib`, `line_chart` (of points) and `chart`
/// (of [`Series`]); all other text is escaped.
///
/// # Errors
/// [`EvalError::Template`] when the template does not parse or fails.
pub fn render_page<T: Serialize>(template: &str, values: &T) -> Result<String, EvalError> {
    let mut env = Environment::new();
    env.set_auto_escape_callback(|_| AutoEscape::Html);
    env.add_filter("int", |n: f64| grouped(n));
    env.add_filter("fix", |x: f64, digits: usize| format!("{x:.digits$}"));
    env.add_filter("pct", |x: f64, digits: usize| format!("{:.digits$}%", x * 100.0));
    env.add_filter("signed", |x: f64, digits: usize| format!("{x:+.digits$}").replace('-', "−"));
    env.add_filter("mib", |bytes: f64| format!("{} MiB", grouped(bytes / 1_048_576.0)));
    env.add_filter("line_chart", |points: Serde<Vec<(f64, f64)>>, x: &str, y: &str| {
        Value::from_safe_string(svg::line_chart(&points.0, x, y))
    });
    env.add_filter("chart", |series: Serde<Vec<Series>>, x: &str, y: &str| {
        Value::from_safe_string(svg::chart(&series.0, x, y))
    });
    env.add_template("report.css", include_str!("../../templates/report.css"))?;
    env.add_template("report.html", template)?;
    let page = context! { r => Value::from(Serde(values)) };
    Ok(env.get_template("report.html")?.render(page)?)
}

/// A whole number with thin spaces between thousands.
fn grouped(n: f64) -> String {
    let digits = format!("{:.0}", n.abs());
    let mut text = String::new();
    for (idx, digit) in digits.chars().enumerate() {
        if idx > 0 && (digits.len() - idx) % 3 == 0 {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    if n < 0.0 { format!("−{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_grouped() {
        for (n, text) in [(0.0, "0"), (999.0, "999"), (1000.4, "1 000"), (-37_000.0, "−37 000")] {
            assert_eq!(grouped(n).replace('\u{202f}', " "), text);
        }
    }
}
