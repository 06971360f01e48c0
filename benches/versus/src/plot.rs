//! Results as SVG.

use std::error::Error;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::report::{number, thousands};
use crate::result::{Metric, Table};
use crate::series::Series;

/// One colour for each contestant but the floor.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0x1b, 0x6c, 0xa8),
    RGBColor(0xe0, 0x7b, 0x39),
    RGBColor(0x4c, 0xa0, 0x5a),
    RGBColor(0x8d, 0x5f, 0xb0),
    RGBColor(0x9a, 0x9a, 0x9a),
];
const FONT: &str = "sans-serif";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A drawing library's error may refer to what it drew on.
fn owned<E: Error>(error: E) -> anyhow::Error {
    anyhow!("the plot cannot be drawn: {error}")
}

/// How one row of a table compares with the floor.
struct Row {
    name: String,
    /// A contestant's place among the names, and how many times what the floor takes: the median of the rounds.
    costs: Vec<(usize, f64)>,
}

const BAR: i32 = 10;
const GAP: i32 = 9;
/// The width of all, and of the rows' names.
const WIDTH: u32 = 1100;
const NAMES_WIDTH: u32 = 340;

impl Row {
    fn height(&self) -> i32 {
        BAR * self.costs.len() as i32 + GAP
    }
}

/// The names of the contestants but the floor, and a row for each metric that the floor has.
fn rows(tables: &[Table]) -> (Vec<String>, Vec<Row>) {
    let (mut names, mut rows): (Vec<String>, Vec<Row>) = (Vec::new(), Vec::new());
    for table in tables {
        let Some(floor) = table.floor() else { continue };
        for metric in &table.metrics {
            let mut costs = Vec::new();
            for column in table.columns.iter().filter(|column| column.name != floor.name) {
                let Some(ratio) = column.ratio(floor, metric.name) else { continue };
                let place = names.iter().position(|name| *name == column.name).unwrap_or_else(|| {
                    names.push(column.name.clone());
                    names.len() - 1
                });
                costs.push((place, if metric.more_is_better() { 1.0 / ratio.median } else { ratio.median }));
            }
            if !costs.is_empty() {
                rows.push(Row { name: format!("{} {}", table.workload, metric.name), costs });
            }
        }
    }
    (names, rows)
}

/// Draws every ratio to the floor as a bar, on a logarithmic scale; where more is better, the inverse.
///
/// # Errors
///
/// The file cannot be written.
pub fn ratios(path: &Path, tables: &[Table]) -> Result<()> {
    let (names, rows) = rows(tables);
    let rows_height: i32 = rows.iter().map(Row::height).sum();
    let area = SVGBackend::new(path, (WIDTH, 100 + rows_height as u32)).into_drawing_area();
    area.fill(&WHITE).map_err(owned)?;
    let title = "Times what the bare disk takes: shorter is better, 1 is the floor";
    let titled = area.titled(title, (FONT, 20)).map_err(owned)?;
    let (legend, chart_area) = titled.split_vertically(26);
    draw_legend(&legend, &names)?;
    draw_bars(&chart_area, &rows, rows_height)?;
    area.present().map_err(owned)
}

fn draw_bars(area: &Area<'_>, rows: &[Row], rows_height: i32) -> Result<()> {
    let costs = || rows.iter().flat_map(|row| row.costs.iter().map(|&(_, cost)| cost));
    let least = costs().fold(0.5, f64::min) * 0.9;
    let most = costs().fold(2.0, f64::max) * 1.6;
    let mut chart = ChartBuilder::on(area)
        .margin_right(20)
        .x_label_area_size(30)
        .y_label_area_size(NAMES_WIDTH)
        .build_cartesian_2d((least..most).log_scale(), 0..rows_height)
        .map_err(owned)?;
    chart
        .configure_mesh()
        .disable_y_axis()
        .disable_y_mesh()
        .x_labels(12)
        .light_line_style(RGBColor(0xee, 0xee, 0xee))
        .x_label_formatter(&|x| number(*x))
        .draw()
        .map_err(owned)?;
    let mut bottom = rows_height;
    for row in rows {
        let top = bottom - GAP / 2;
        bottom -= row.height();
        let (_, name_y) = chart.backend_coord(&(1.0, top - BAR * row.costs.len() as i32 / 2));
        draw_name(area, &row.name, name_y)?;
        for (line, &(place, cost)) in row.costs.iter().enumerate() {
            let y = top - BAR * line as i32;
            let bar = Rectangle::new([(1.0, y), (cost, y - BAR + 1)], COLOURS[place % COLOURS.len()].filled());
            let label = Text::new(digits(cost), (cost.max(1.0) * 1.02, y), (FONT, 10).into_font());
            chart.draw_series([bar]).map_err(owned)?;
            chart.draw_series([label]).map_err(owned)?;
        }
    }
    chart.draw_series([PathElement::new([(1.0, 0), (1.0, rows_height)], BLACK)]).map_err(owned)?;
    Ok(())
}

fn digits(cost: f64) -> String {
    if cost < 10.0 { format!("{cost:.2}") } else { number(cost) }
}

/// The area's own coordinates begin at its corner, a chart's do not.
fn draw_name(area: &Area<'_>, name: &str, y: i32) -> Result<()> {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    let style = (FONT, 12).into_text_style(area).pos(Pos::new(HPos::Right, VPos::Center));
    let (_, top) = area.get_base_pixel();
    area.draw(&Text::new(name.to_owned(), (NAMES_WIDTH as i32 - 6, y - top), style)).map_err(owned)
}

fn draw_legend(area: &Area<'_>, names: &[String]) -> Result<()> {
    for (at, name) in names.iter().enumerate() {
        let x = NAMES_WIDTH as i32 + 140 * at as i32;
        area.draw(&Rectangle::new([(x, 8), (x + 12, 20)], COLOURS[at % COLOURS.len()].filled())).map_err(owned)?;
        area.draw(&Text::new(name.clone(), (x + 18, 8), (FONT, 13).into_font())).map_err(owned)?;
    }
    Ok(())
}

/// Draws each metric of a series as a line over the sizes, which are on a logarithmic scale.
///
/// # Errors
///
/// The file cannot be written.
pub fn series(path: &Path, series: &Series) -> Result<()> {
    const COLUMNS: usize = 3;
    let metrics = &series.table.metrics;
    let lines = metrics.len().div_ceil(COLUMNS);
    let area = SVGBackend::new(path, (1200, 60 + 260 * lines as u32)).into_drawing_area();
    area.fill(&WHITE).map_err(owned)?;
    let area = area.titled(&series.table.title, (FONT, 18)).map_err(owned)?;
    for (panel, metric) in area.split_evenly((lines, COLUMNS)).iter().zip(metrics) {
        draw_panel(panel, series, metric)?;
    }
    area.present().map_err(owned)
}

fn draw_panel(area: &Area<'_>, series: &Series, metric: &Metric) -> Result<()> {
    let points = series.points(metric.name);
    let sizes = || series.sizes.iter().map(|&size| size as f64);
    let (least, most) = (sizes().fold(f64::MAX, f64::min), sizes().fold(1.0, f64::max));
    let highest = points.iter().map(|point| point.1).fold(0.0, f64::max);
    // A line that stays flat must look flat: from zero up.
    let top = if highest > 0.0 { highest * 1.25 } else { 1.0 };
    let mut chart = ChartBuilder::on(area)
        .caption(metric.label(), (FONT, 14))
        .margin(8)
        .margin_right(30)
        .x_label_area_size(34)
        .y_label_area_size(60)
        .build_cartesian_2d((least * 0.8..most * 1.25).log_scale(), 0.0..top)
        .map_err(owned)?;
    chart
        .configure_mesh()
        .x_desc(series.of)
        .x_labels(series.sizes.len() + 1)
        .x_label_formatter(&|x| thousands(x.round() as u64))
        .y_labels(6)
        .max_light_lines(0)
        .light_line_style(WHITE)
        .y_label_formatter(&|y| number(*y))
        .draw()
        .map_err(owned)?;
    chart.draw_series(LineSeries::new(points.iter().copied(), COLOURS[0].stroke_width(2))).map_err(owned)?;
    let dots = points.iter().map(|&point| Circle::new(point, 3, COLOURS[0].filled()));
    chart.draw_series(dots).map_err(owned)?;
    Ok(())
}
