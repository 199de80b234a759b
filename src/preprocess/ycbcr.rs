//! YCbCr samples of a TIFF into RGB, with the rounding of libtiff (`TIFFYCbCrToRGBInit`), which
//! OpenCV uses.

/// Tables for one choice of coefficients and of black and white.
pub(super) struct Converter {
    luma: [i32; 256],
    red_of_cr: [i32; 256],
    green_of_cr: [i32; 256],
    green_of_cb: [i32; 256],
    blue_of_cb: [i32; 256],
}

impl Converter {
    /// `coefficients`: the shares of red, green and blue in luma, those of BT.601 where the file has
    /// none. `range`: black and white of Y, Cb and Cr, 0 to 255 and 128 to 255 where it has none.
    pub fn new(coefficients: Option<[f32; 3]>, range: Option<[f32; 6]>) -> Self {
        let [red, green, blue] = coefficients.unwrap_or([0.299, 0.587, 0.114]);
        let range = range.unwrap_or([0.0, 255.0, 128.0, 255.0, 128.0, 255.0]);
        let fixed = |factor: f32| (f64::from(clamp(factor, 0.0, 2.0)) * 65536.0 + 0.5) as i32;
        let (of_red, of_blue) = (2.0 - 2.0 * red, 2.0 - 2.0 * blue);
        let (cr_red, cr_green) = (fixed(of_red), -fixed(red * of_red / green));
        let (cb_blue, cb_green) = (fixed(of_blue), -fixed(blue * of_blue / green));
        let level = |code: i32, black: f32, white: f32, top: f32| {
            let width = if white - black == 0.0 { 1.0 } else { white - black };
            // The offset of black is a whole number in libtiff.
            clamp((code - black as i32) as f32 * top / width, -128.0 * 32.0, 128.0 * 32.0) as i32
        };
        let half = 1 << 15;
        let mut tables = Self {
            luma: [0; 256],
            red_of_cr: [0; 256],
            green_of_cr: [0; 256],
            green_of_cb: [0; 256],
            blue_of_cb: [0; 256],
        };
        for index in 0..256 {
            let code = index as i32;
            let cr = level(code - 128, range[4] - 128.0, range[5] - 128.0, 127.0);
            let cb = level(code - 128, range[2] - 128.0, range[3] - 128.0, 127.0);
            tables.luma[index] = level(code, range[0], range[1], 255.0);
            tables.red_of_cr[index] = (cr_red * cr + half) >> 16;
            tables.blue_of_cb[index] = (cb_blue * cb + half) >> 16;
            tables.green_of_cr[index] = cr_green * cr;
            tables.green_of_cb[index] = cb_green * cb + half;
        }
        tables
    }

    /// One pixel.
    pub fn rgb(&self, luma: u8, cb: u8, cr: u8) -> [u8; 3] {
        let (luma, cb, cr) = (self.luma[usize::from(luma)], usize::from(cb), usize::from(cr));
        let green = (self.green_of_cb[cb] + self.green_of_cr[cr]) >> 16;
        [luma + self.red_of_cr[cr], luma + green, luma + self.blue_of_cb[cb]].map(|level| level.clamp(0, 255) as u8)
    }
}

/// Numbers of a file may be no numbers: these become the lower bound.
fn clamp(value: f32, low: f32, high: f32) -> f32 {
    if value > low { value.min(high) } else { low }
}

/// Samples as TIFF groups them: for `across` by `down` pixels their luma, row by row, then one Cb
/// and one Cr.
pub(super) struct Groups<'a> {
    /// Rows of whole groups, as many as cover the picture.
    pub samples: &'a [u8],
    pub across: usize,
    pub down: usize,
}

impl Groups<'_> {
    /// RGB of a picture of this size, each pair of chroma values repeated.
    pub fn to_rgb(&self, width: usize, height: usize, converter: &Converter) -> Vec<u8> {
        let lumas = self.across * self.down;
        let row = width.div_ceil(self.across) * (lumas + 2);
        let mut rgb = Vec::with_capacity(width * height * 3);
        for y in 0..height {
            let groups = self.samples.chunks_exact(row).nth(y / self.down).unwrap_or_default();
            for x in 0..width {
                let group = &groups[x / self.across * (lumas + 2)..][..lumas + 2];
                let luma = group[y % self.down * self.across + x % self.across];
                rgb.extend(converter.rgb(luma, group[lumas], group[lumas + 1]));
            }
        }
        rgb
    }
}
