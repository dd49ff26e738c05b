//! Throughput and latency over connections, as SVG.

use crate::measure::{Curve, Point};
use anyhow::anyhow;
use plotters::coord::Shift;
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

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws both, side by side. Points that are wrong are left out.
pub(super) fn draw(curves: &[&Curve], file: &Path) -> anyhow::Result<()> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    let done = || {
        area.fill(&WHITE)?;
        let (left, right) = area.split_horizontally(SIZE.0 / 2);
        panel(&left, curves, "requests per second", |point| point.rate)?;
        panel(&right, curves, "p99 latency, µs", |point| point.p99_us)?;
        area.present()
    };
    done().map_err(|error| anyhow!("{}: {error}", file.display()))
}

fn panel<'a>(
    area: &Area<'a>,
    curves: &[&Curve],
    title: &str,
    value: impl Fn(&Point) -> f64,
) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
    let points = |curve: &Curve| -> Vec<(f64, f64)> {
        curve
            .points
            .iter()
            .filter(|point| point.fault.is_none())
            .map(|point| (point.at as f64, value(point)))
            .collect()
    };
    let all: Vec<_> = curves.iter().flat_map(|curve| points(curve)).collect();
    let most = |of: fn(&(f64, f64)) -> f64| all.iter().map(of).fold(1.0, f64::max);
    let least = all.iter().map(|point| point.1).fold(f64::MAX, f64::min);
    let (right, top) = (most(|point| point.0), most(|point| point.1));
    let bottom = least.min(top).max(1.0);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(
            (1.0..right * 1.2).log_scale(),
            (bottom / 2.0..top * 2.0).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc("connections")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let style = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(points(curve), style).point_size(3))?
            .label(&*curve.what)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .position(SeriesLabelPosition::LowerRight)
        .draw()
}
