//! An SVG chart of throughput and latency over connections.

use crate::measure::{Curve, Point};
use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use std::path::Path;

const SIZE: (u32, u32) = (960, 420);

const COLOURS: [RGBColor; 6] = [
    RGBColor(90, 90, 90),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
];

type Svg<'a> = SVGBackend<'a>;
type Area<'a> = DrawingArea<Svg<'a>, Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<Svg<'a> as DrawingBackend>::ErrorType>>;
type Connections = plotters::coord::combinators::LogCoord<f64>;

/// Draws both diagrams side by side. Invalid points are left out.
pub(super) fn draw(curves: &[&Curve], file: &Path) -> anyhow::Result<()> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    let done = || {
        area.fill(&WHITE)?;
        let (left, right) = area.split_horizontally(SIZE.0 / 2);
        throughput(&left, curves)?;
        latency(&right, curves)?;
        area.present()
    };
    done().map_err(|error| anyhow!("{}: {error}", file.display()))
}

fn throughput<'a>(area: &Area<'a>, curves: &[&Curve]) -> Drawn<'a> {
    let rate = |point: &Point| point.rate / 1000.0;
    let (widest, _, top) = bounds(curves, rate);
    let mut chart = builder(area, "thousand requests per second")
        .build_cartesian_2d((1.0..widest).log_scale(), 0.0..top * 1.1)?;
    let chart: &mut ChartContext<'_, _, Cartesian2d<Connections, RangedCoordf64>> = &mut chart;
    lines(chart, curves, rate)
}

fn latency<'a>(area: &Area<'a>, curves: &[&Curve]) -> Drawn<'a> {
    let p99 = |point: &Point| point.p99_us / 1000.0;
    let (widest, least, top) = bounds(curves, p99);
    let bottom = (least / 2.0).max(0.001);
    let mut chart = builder(area, "99th percentile of latency, ms").build_cartesian_2d(
        (1.0..widest).log_scale(),
        (bottom..(top * 2.0).max(bottom * 10.0)).log_scale(),
    )?;
    lines(&mut chart, curves, p99)?;
    // One legend for both diagrams, since the left one has no free corner.
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .position(SeriesLabelPosition::LowerRight)
        .draw()
}

/// The maximum number of connections, and the least and the greatest value, of all valid points.
fn bounds(curves: &[&Curve], value: impl Fn(&Point) -> f64) -> (f64, f64, f64) {
    let right = || curves.iter().flat_map(|curve| right(curve));
    let widest = right().map(|point| point.at as f64).fold(10.0, f64::max);
    let least = right().map(&value).fold(f64::MAX, f64::min);
    let top = right().map(&value).fold(0.001, f64::max);
    (widest, least.min(top), top)
}

fn right(curve: &Curve) -> impl Iterator<Item = &Point> {
    curve.points.iter().filter(|point| point.fault.is_none())
}

fn builder<'a, 'b>(area: &'b Area<'a>, title: &str) -> ChartBuilder<'b, 'b, Svg<'a>> {
    let mut builder = ChartBuilder::on(area);
    builder
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48);
    builder
}

fn lines<'a, Y>(
    chart: &mut ChartContext<'_, Svg<'a>, Cartesian2d<Connections, Y>>,
    curves: &[&Curve],
    value: impl Fn(&Point) -> f64,
) -> Drawn<'a>
where
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("connections")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y}"))
        .draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let style = colour.stroke_width(2);
        let points = right(curve).map(|point| (point.at as f64, value(point)));
        chart
            .draw_series(LineSeries::new(points, style).point_size(3))?
            .label(&*curve.what)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    Ok(())
}
