//! Limits, names, the grid, the values of 8 bits, the input rule, shards.

use super::{
    between, document,
    formula::{number, value},
    quoted, table,
};
use crate::cache_support::small_cache;
use logitcache::{augment::VIEW_RULE, cache::Shard, preprocess::PAD_GREY, types::ImageSize};
use logitcache_format::{
    Codebook, Colours, DETECT, FORMAT_NAME, FORMAT_VERSION, Fit, Grid, HeadKind, InputRule, InputValues,
    KNOWN_FEATURES, ROW_GROUP_BYTES, ROW_GROUP_IMAGES,
    columns::{Form, MAX_CODES, Shape, Table},
    limits,
    types::LogitType,
};

#[test]
fn limits_are_those_of_the_code() {
    let known = [
        (" views per image", f64::from(limits::MAX_VIEWS)),
        (" values per list", limits::MAX_LIST_LEN as f64),
        (" strides", limits::MAX_STRIDES as f64),
        (" anchors", limits::MAX_ANCHORS as f64),
        (" rows or labels per image", limits::MAX_ROWS_OF_IMAGE as f64),
        (" rows per row group and bytes per page", limits::MAX_ROWS_OF_GROUP as f64),
        (" GiB of manifest", (limits::MAX_MANIFEST_BYTES >> 30) as f64),
    ];
    let stated = between("## Limits ", ". ##");
    let stated: Vec<&str> = stated.split(", ").collect();
    assert_eq!(stated.len(), known.len(), "{stated:?}");
    for (text, (unit, limit)) in stated.iter().zip(known) {
        let stated = text.strip_suffix(unit).unwrap_or_else(|| panic!("{text:?} is not a number of{unit}"));
        assert_eq!(number(stated), limit, "{text}");
    }
    assert_eq!(limits::MAX_PAGE_BYTES as u64, limits::MAX_ROWS_OF_GROUP);
    assert_eq!(limits::MAX_MANIFEST_BYTES % (1 << 30), 0);
    let footer = number(&between("A footer over ", " MiB or a schema with over "));
    assert_eq!(footer, limits::MAX_FOOTER_BYTES as f64 / f64::from(1 << 20));
    let elements = number(&between(" MiB or a schema with over ", " elements is refused"));
    assert_eq!(elements, limits::MAX_SCHEMA_ELEMENTS as f64);
}

#[test]
fn row_groups_end_where_the_document_says() {
    assert_eq!(between("A row group ends after ", " images"), ROW_GROUP_IMAGES.to_string());
    let bytes = between("images or once its values reach ", " MiB, logits of any type counted as float16;");
    assert_eq!(bytes.parse::<usize>().unwrap() << 20, ROW_GROUP_BYTES);
    assert_eq!(between("**Row groups end at ", " MiB"), bytes);
}

#[test]
fn names_are_those_of_the_code() {
    let heads: Vec<String> =
        table("| head | predictions | score | box |").iter().map(|row| quoted(&row[0])[0].clone()).collect();
    assert_eq!(heads, HeadKind::ALL.map(HeadKind::as_str));
    for (row, kind) in table("| head | predictions | score | box |").iter().zip(HeadKind::ALL) {
        assert_eq!(row[1].starts_with("in the cells of a grid"), kind.is_on_grid(), "{row:?}");
    }
    assert_eq!(between("| `task` | `", "`"), DETECT);
    assert_eq!(between("| `format` | `name` (`", "`)"), FORMAT_NAME);
    assert_eq!(between("# The cache format, version ", " "), FORMAT_VERSION.to_string());
    let features = quoted(&between(" has two reader features: ", ". logitcache"));
    let features: Vec<&str> = features.iter().map(String::as_str).filter(|name| !name.contains('.')).collect();
    assert_eq!(features, KNOWN_FEATURES);
    assert_eq!(between("The rule is named in `settings.view_rule`: `", "`"), VIEW_RULE);
}

#[test]
fn a_manifest_ends_and_its_parts_are_named_as_the_document_says() {
    let folder = tempfile::tempdir().unwrap();
    let (manifest, _) = small_cache(folder.path());
    let bytes = std::fs::read(folder.path().join("manifest.json")).unwrap();
    let stated = between("Each ends with one line feed (", " bytes together)");
    assert_eq!(between("`head -c -", " manifest.json | sha256sum`"), stated);
    let (head, tail) = bytes.split_at(bytes.len() - stated.parse::<usize>().unwrap());
    let digits = between("\"manifest_sha256\": \"<", " digits>\"").parse::<usize>().unwrap();
    let digest = logitcache_format::to_hex(&<sha2::Sha256 as sha2::Digest>::digest(head));
    assert_eq!(digest.len(), digits);
    assert_eq!(String::from_utf8_lossy(tail), format!("  \"manifest_sha256\": \"{digest}\"\n}}\n"));

    let digits = |word: &str| ["eight", "nine"].iter().position(|&known| known == word).unwrap() + 8;
    let of_id = digits(&between("the lowest image id of the part, in ", " (or more) decimal digits"));
    let of_digest = digits(&between("and the first ", " digits of its content digest"));
    for part in &manifest.parts {
        let id = format!("{:0of_id$}", part.first_image_id);
        assert_eq!(part.name, format!("part-{id}-{}", &part.content_sha256[..of_digest]));
    }
}

#[test]
fn anchors_are_numbered_as_the_document_says() {
    let rows = between("A stride s has (", ") rows of (");
    let columns = between(") rows of (", ") cells, numbered row by row");
    for (width, height, strides) in [(640, 640, vec![8, 16, 32]), (96, 64, vec![32, 8]), (64, 128, vec![8, 8, 16, 64])]
    {
        let grid = Grid::new(ImageSize { width, height }, &strides);
        assert_eq!(grid.strides().collect::<Vec<_>>(), strides);
        let mut first = 0;
        for (level, stride) in grid.levels().iter().zip(strides) {
            let of = |formula: &str| {
                let named = |name: &str| match name {
                    "s" => f64::from(stride),
                    "input_width" => f64::from(width),
                    "input_height" => f64::from(height),
                    other => panic!("{formula:?} has the name {other:?}"),
                };
                value(formula, &named) as usize
            };
            assert_eq!((level.rows, level.columns, level.first_anchor), (of(&rows), of(&columns), first));
            // Row by row: the second cell is right of the first, and the second row begins after the last cell of the first.
            for (anchor, x, y) in [(first + 1, 1.5, 0.5), (first + of(&columns), 0.5, 1.5)] {
                let cell = grid.cell(anchor);
                assert!(level.columns == 1 || level.rows == 1 || (cell.centre_x, cell.centre_y) == (x, y), "{cell:?}");
            }
            first += of(&rows) * of(&columns);
        }
        assert_eq!(grid.num_anchors(), first);
    }
}

#[test]
fn values_of_8_bits_are_those_of_the_code() {
    let stretches = table("| column | values |");
    assert_eq!(stretches.len(), 2);
    for (row, (column, book)) in
        stretches.iter().zip([("class_logits", Codebook::class()), ("dfl_logits", Codebook::dfl())])
    {
        assert_eq!(row[0], format!("`{column}`"));
        let (stretches, last) = row[1].split_once(" (up to ").unwrap();
        let mut values: Vec<f32> = Vec::new();
        for stretch in stretches.split("; ") {
            let numbers: Vec<f64> = stretch.split(", ").map(number).collect();
            let [first, count, step] = numbers[..] else { panic!("{stretch:?} is not first value, number, step") };
            values.extend((0..count as usize).map(|at| (first + at as f64 * step) as f32));
        }
        assert_eq!(values.last().copied(), Some(number(last.trim_end_matches(')')) as f32), "{column}");
        assert_eq!(values.len(), MAX_CODES, "{column}");
        assert_eq!(book.values().map(|value| value.to_f32()).collect::<Vec<_>>(), values, "{column}");
    }
    assert_eq!(between("a logit is one of ", " values"), MAX_CODES.to_string());
    assert_eq!(between("codes (PLAIN with more than ", " classes)"), MAX_CODES.to_string());
}

#[test]
fn columns_with_a_dictionary_are_those_of_the_code() {
    let rows = table("| column | form | dictionary |");
    let stated = |name: &str, logits: LogitType| {
        let row = rows.iter().find(|row| quoted(&row[0]).iter().any(|column| column == name));
        match row.map(|row| row[1].as_str()) {
            None => Form::Plain,
            // "With `8bit-dfl` the same holds, except that `class_logits` are float16 and PLAIN."
            Some(_) if logits == LogitType::Bits8Dfl && name == "class_logits" => Form::Plain,
            Some("runs") => Form::Runs,
            Some(form) if form.starts_with("codes") => Form::Codes,
            Some(form) => panic!("{name} has the form {form:?}"),
        }
    };
    for logits in [LogitType::Bits8, LogitType::Bits8Dfl] {
        let shape = Shape { logits, ..Shape::default() };
        let columns = shape.columns(Table::Predictions);
        for (column, form) in columns.into_iter().zip(shape.forms(Table::Predictions)) {
            assert_eq!(form, stated(column.name, logits), "{} with {logits:?}", column.name);
        }
    }
    let named: usize = rows.iter().map(|row| quoted(&row[0]).len()).sum();
    assert_eq!(named, 6, "`six columns of predictions have a dictionary`");
}

#[test]
fn the_input_rule_is_that_of_the_code() {
    let rows = table("| part | value | meaning |");
    let stated: Vec<String> = rows.iter().flat_map(|row| quoted(&row[1])).collect();
    let known = Fit::ALL.map(Fit::as_str).into_iter().chain(Colours::ALL.map(Colours::as_str));
    assert_eq!(stated, known.chain(InputValues::ALL.map(InputValues::as_str)).collect::<Vec<_>>());
    // The first value of each part is the default.
    let defaults: Vec<String> =
        rows.iter().filter(|row| row[1].contains("(default)")).map(|r| quoted(&r[1])[0].clone()).collect();
    let default = InputRule::default();
    assert_eq!(defaults, [default.fit.as_str(), default.colours.as_str(), default.values.as_str()]);
    for values in InputValues::ALL {
        let row = rows.iter().find(|row| quoted(&row[1]).iter().any(|name| name == values.as_str())).unwrap();
        let (formula, numbers) = row[2].split_once(';').unwrap_or((&row[2], ""));
        let formula = if formula == "the level itself" { "level" } else { formula };
        let of_colour = |name: &str, colour: usize| {
            let (_, numbers) = numbers.split_once(&format!("{name} ")).unwrap();
            let number = numbers.split(", ").nth(colour).unwrap();
            number.split_whitespace().next().unwrap().parse::<f64>().unwrap()
        };
        for (level, colour) in (0..=255u8).flat_map(|level| [0, 1, 2].map(|colour| (level, colour))) {
            let named = |name: &str| match name {
                "level" => f64::from(level),
                other => of_colour(other, colour),
            };
            let (expected, found) = (value(formula, &named), values.of_level(level, colour));
            assert!((expected - f64::from(found)).abs() < 1e-5 * (1.0 + expected.abs()), "{values:?} {level} {colour}");
        }
    }
}

#[test]
fn what_lies_outside_an_image_is_as_grey_as_the_document_says() {
    let text = document();
    let greys: Vec<&str> = text.split("grey ").skip(1).map(|rest| &rest[..3]).filter(|n| n.starts_with('1')).collect();
    assert!(greys.len() >= 3 && greys.iter().all(|grey| *grey == PAD_GREY.to_string()), "{greys:?}");
}

#[test]
fn shards_have_the_images_that_the_document_says() {
    let first = between("has the image ids from ", " up to, not including, ");
    let end = between(" up to, not including, ", ". It depends");
    for (number, count, samples) in [(1, 1, 10), (1, 3, 10), (2, 3, 10), (3, 3, 10), (7, 64, 118_287), (4, 5, 2)] {
        let of = |formula: &str| {
            let named = |name: &str| match name {
                "S" => samples as f64,
                "I" => f64::from(number),
                "N" => f64::from(count),
                other => panic!("{formula:?} has the name {other:?}"),
            };
            value(formula, &named) as i64
        };
        let shard = Shard::new(number, count).unwrap();
        assert_eq!(shard.image_ids(samples), of(&first)..of(&end), "{shard} of {samples}");
    }
}
