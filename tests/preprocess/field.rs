//! The pictures of the field cases, where their folder is there: sizes and pixels as `case.md`
//! gives them.

use logitcache::preprocess::{DecodeLimits, RgbImage, decode, size_of};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folder of a case, or `None` with a line that counts as a skipped test.
fn case(name: &str) -> Option<PathBuf> {
    let folder = crate::common::shared()?.join("field").join(name);
    if !folder.is_dir() {
        crate::common::skip(&format!("{} is not there", folder.display()));
        return None;
    }
    Some(folder)
}

fn read(folder: &Path, name: &str) -> Result<RgbImage, String> {
    let bytes = fs::read(folder.join(name)).unwrap();
    let image = decode(&bytes, &DecodeLimits::default()).map_err(|error| format!("{name}: {error}"))?;
    assert_eq!(size_of(&bytes, &DecodeLimits::default()).unwrap(), image.size, "{name}");
    Ok(image)
}

/// Each of these files has this size and these pixels.
fn assert_pixels(folder: &Path, files: &[&str], (width, height): (u32, u32), sha256: &str) {
    for name in files {
        let image = read(folder, name).unwrap();
        assert_eq!((image.size.width, image.size.height), (width, height), "{name}");
        let digest: String = Sha256::digest(&image.pixels).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, sha256, "{name}");
    }
}

#[test]
fn exif_integer_types() {
    let Some(folder) = case("01-exif-integer-types") else { return };
    for (files, sha256) in [
        (
            &["byte_ii_8.jpg", "byte_mm_8.jpg", "long_ii_8.jpg", "long_mm_8.jpg", "short_mm_8.jpg"][..],
            "32567cb6a99abce25379de178f6a0792482543b7c25d52e98aef505863a059ba",
        ),
        (
            &["byte_ii_3.jpg", "long_ii_3.jpg", "long_mm_3.jpg"],
            "efd47ae5aa9b78f7f81bf26de93e925a8efdd0198104ca7e054e6d44c1aa4db8",
        ),
        (
            &["long_ii_8.png", "long_mm_3.png", "short_ii_3.png"],
            "668143b06ccf580d122b34dc49c8b13f962674a17fd0473d7fa28208ef479a01",
        ),
        (&["long_ii_3.webp"], "ffd64ff78ef262de00717bb5194e7839e02df21dbb3ac08a4d684901bb661fab"),
        (&["long_mm_8.webp"], "6c7da97df1b2c07b56ef17decdef87e35e2a9c0e807165c71ee33f9e5658367b"),
    ] {
        assert_pixels(&folder, files, (300, 200), sha256);
    }
    for name in ["set/images/cook.webp", "set/images/tasting.jpg"] {
        let size = read(&folder, name).unwrap().size;
        assert_eq!((size.width, size.height), (300, 200), "{name}");
    }
}

#[test]
fn bigtiff_and_ycbcr_tiff() {
    let Some(folder) = case("08-bigtiff-and-ycbcr-tiff") else { return };
    for (files, size, sha256) in [
        (
            &["big_mm_deflate.tif", "big_ii_deflate.tiff", "classic_deflate.tif"][..],
            (200, 150),
            "d2dba8005b90e594623272ad5a7e83eca5af819610b5c7601a52df911e54e5d4",
        ),
        (&["big_mm_grey16.tif"], (200, 150), "08521394202668de9fe73b76ff5256b228b6976a4cb815ea4c3d7378db0216ee"),
        (&["big_ii_packbits.tif"], (120, 90), "e041812135871c22f7a3ec90945af1841fcad1f3a550be713ecdf6a970922388"),
        (&["big_ii_ycbcr_jpeg.tif"], (200, 150), "cfdadd7ba40cb1aa0f320cdcc15a7da43da4775929b0a18f14aa869f26e50f0f"),
        (&["mm_ycbcr_jpeg.tif"], (200, 150), "e38741a61efb54dc3c4049839bb6be9ce7d0290cedd94a70dc977d08f0f03082"),
        (&["ycbcr_jpeg_tables.tif"], (200, 150), "ebf2dbe6285425411242e036773e46970916355b174db28ae5eda98d83d9e1f5"),
        (&["ycbcr_plain.tif"], (120, 90), "a2adb972ba62d2bb56d5242b9adc874522b983bedc91d2602c079a8830c65931"),
    ] {
        assert_pixels(&folder, files, size, sha256);
    }
}

#[test]
fn jpeg_without_end_or_restart_marker() {
    let Some(folder) = case("09-progressive-jpeg-no-end") else { return };
    let airplane = "0638265b4cd2a0691c1650a5557408e57ff5560ff25d6750e2f56751fb835c59";
    assert_pixels(&folder, &["whole.jpg", "no_end.jpg", "no_end_zeros.jpg"], (280, 186), airplane);
    for (lacking, whole) in [
        ("no_end_444.jpg", "whole_444.jpg"),
        ("no_end_grey.jpg", "whole_grey.jpg"),
        ("baseline_no_end.jpg", "restart_whole.jpg"),
    ] {
        let (lacking, whole) = (read(&folder, lacking).unwrap(), read(&folder, whole).unwrap());
        assert_eq!(lacking.size, whole.size);
        assert!(lacking.pixels == whole.pixels);
    }
    for (name, words) in [
        ("cut_in_last_scan.jpg", "it ends before its last pixel"),
        ("restart_lost.jpg", "a restart marker is missing or in the wrong place"),
        ("restart_lost_progressive.jpg", "a restart marker is missing or in the wrong place"),
    ] {
        let error = read(&folder, name).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn first_picture_of_an_mpo() {
    let Some(folder) = case("10-mpo-passed-over") else { return };
    for (name, size) in [
        ("photos/STEREO_0031.MPO", (200, 216)),
        ("set/images/STEREO_0031.MPO", (200, 216)),
        ("photos/herd.mpo", (220, 165)),
        ("photos/saved_from_web.jfif", (220, 146)),
        ("photos/old.jpe", (220, 146)),
        ("photos/IMG_0032.JPG", (220, 146)),
    ] {
        let image = read(&folder, name).unwrap();
        assert_eq!((image.size.width, image.size.height), size, "{name}");
    }
}
