// SPDX-License-Identifier: GPL-2.0

//! A picture as SVG and as PNG. Its font comes with the program: what a machine has installed makes no difference.

use plotters::{
    coord::Shift,
    prelude::*,
    style::register_font, //
};
use std::{
    error::Error,
    fs::File,
    io::BufWriter,
    path::Path,
    sync::Once, //
};

/// The name under which pictures ask for the font.
pub const FONT: &str = "sans-serif";

/// Before the first text is drawn or measured.
pub fn register_fonts() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        for (style, bytes) in [
            (FontStyle::Normal, dejavu::sans::regular()),
            (FontStyle::Bold, dejavu::sans::bold()),
        ] {
            // It is a font; were it none, drawing would say so
            let _ = register_font(FONT, style, bytes);
        }
    });
}

/// What can be drawn.
pub trait Picture {
    /// Width and height in points.
    fn size(&self) -> (u32, u32);

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), Box<dyn Error>>
    where
        B::ErrorType: 'static;
}

/// Writes `name.svg` and `name.png`.
pub fn save(picture: &impl Picture, dir: &Path, name: &str) -> Result<(), Box<dyn Error>> {
    register_fonts();
    let (width, height) = picture.size();
    let svg = dir.join(format!("{name}.svg"));
    let area = SVGBackend::new(&svg, (width, height)).into_drawing_area();
    area.fill(&WHITE)?;
    picture.draw(&area)?;
    area.present()?;

    let mut pixels = vec![0; width as usize * height as usize * 3];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        area.fill(&WHITE)?;
        picture.draw(&area)?;
        area.present()?;
    }
    let file = BufWriter::new(File::create(dir.join(format!("{name}.png")))?);
    let mut encoder = png::Encoder::new(file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(())
}
