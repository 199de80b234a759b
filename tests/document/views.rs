//! The numbers of views, drawn by the document's generator and computed by its formulae.

use super::{between, formula::value, quoted, table};
use logitcache::{
    augment::DrawViews as _,
    types::{ImageSize, ViewChange, Views},
};
use rand::RngExt as _;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};

/// The numbers that are drawn for a view: u0, u1 and so on.
fn drawn(seed: u64, image_id: i64, view: i32) -> Vec<f64> {
    assert_eq!(between("The generator is ChaCha with ", " rounds"), "8");
    let key: Vec<u8> = between("Its key is the bytes of ", ". - Its first")
        .replace(" and ", ", ")
        .split(", ")
        .flat_map(|part| match part {
            "`settings.view_seed` u64" => seed.to_le_bytes().to_vec(),
            "v u64" => (view as u64).to_le_bytes().to_vec(),
            "i i64" => image_id.to_le_bytes().to_vec(),
            text => text.trim_matches(['`', '"']).replace("\\0", "\0").into_bytes(),
        })
        .collect();
    let mut random = ChaCha8Rng::from_seed(key.try_into().unwrap());
    let count: usize = between("- Its first ", " u64 become `u0` to").parse().unwrap();
    let last = between("u64 become `u0` to `u", "`");
    assert_eq!(last.parse::<usize>().unwrap() + 1, count);
    let shift: u32 = between("by `(x >> ", ") / ").parse().unwrap();
    let whole = value(&between(&format!("by `(x >> {shift}) / "), "`"), &|name| panic!("{name}"));
    (0..count).map(|_| (random.random::<u64>() >> shift) as f64 / whole).collect()
}

#[test]
fn the_numbers_of_views_are_those_of_the_document() {
    let rows = table("| column | value |");
    let signed = between(", and `s = ", "`");
    // So many that a threshold (of the mirror) which is a little off shows.
    for (seed, image_id, view, input) in (1..=60).flat_map(|view| {
        [
            (0, 0, view, ImageSize { width: 640, height: 640 }),
            (u64::MAX - 5, 118_286, 1000 - view, ImageSize { width: 320, height: 1280 }),
        ]
    }) {
        let u = drawn(seed, image_id, view);
        // Before rounding, as the document says of `scale`.
        let mut scale = f64::NAN;
        let mut numbers = Vec::new();
        for row in &rows {
            for (column, formula) in quoted(&row[0]).iter().zip(quoted(&row[1])) {
                let named = |name: &str| match (name, name.split_at(1)) {
                    ("W", _) => f64::from(input.width),
                    ("H", _) => f64::from(input.height),
                    ("scale", _) => scale,
                    (_, ("u", at)) => u[at.parse::<usize>().unwrap()],
                    (_, ("s", at)) => value(&signed, &|_| u[at.parse::<usize>().unwrap()]),
                    _ => panic!("{formula:?} has the name {name:?}"),
                };
                let value = value(&formula, &named);
                if column == "view_scale" {
                    scale = value;
                }
                numbers.push((column.clone(), value as f32));
            }
        }
        let change = Views { count: 1000, seed }.change(image_id, view, input);
        assert_eq!(numbers, of_change(&change), "view {view} of image {image_id}");
    }
    let none = between("Those of view 0 are ", ". For view");
    let none: Vec<f32> = none.replace("false", "0").split(", ").map(|number| number.parse().unwrap()).collect();
    assert_eq!(none, of_change(&ViewChange::NONE).into_iter().map(|(_, number)| number).collect::<Vec<_>>());
}

fn of_change(change: &ViewChange) -> Vec<(String, f32)> {
    let numbers = [
        ("view_scale", change.scale),
        ("view_offset_x", change.offset_x),
        ("view_offset_y", change.offset_y),
        ("view_flip", f32::from(u8::from(change.flip))),
        ("view_hue", change.hue),
        ("view_saturation", change.saturation),
        ("view_value", change.value),
    ];
    numbers.map(|(column, number)| (column.to_owned(), number)).to_vec()
}
