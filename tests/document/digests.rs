//! Digests, computed from the tags, columns and orders that the document names.

use super::{between, quoted, table};
use crate::cache_support::{compact_manifest, manifest, manifest_with_views, records, with_views};
use logitcache::types::Store;
use logitcache_format::{ContentHasher, ImageDigests, ImageRecord, Manifest, labels_digest, record_digest, to_hex};
use sha2::{Digest as _, Sha256};

/// The bytes of a tag as the document writes it, and how many it says that they are.
fn tag(cell: &str) -> Vec<u8> {
    let text = cell.split('"').nth(1).unwrap_or_else(|| panic!("{cell:?} has no tag"));
    text.strip_suffix("\\0").unwrap_or_else(|| panic!("{text:?} does not end with \\0")).bytes().chain([0]).collect()
}

/// Names and types of the columns of a table, in the document's order.
fn columns(table_name: &str) -> Vec<(String, String)> {
    let from = format!("\n### {table_name}\n");
    let text = super::document();
    let (_, rest) = text.split_once(&from).unwrap();
    let rows = rest.lines().skip_while(|line| !line.starts_with("| column |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|')).map(|line| line.split('|').map(str::trim).collect());
    rows.map(|cells: Vec<&str>| (cells[1].trim_matches('`').to_owned(), cells[2].to_owned())).collect()
}

/// A value of a record as the files have it, little-endian.
pub(super) fn of_image(r: &ImageRecord, class_len: usize, column: &str) -> Vec<u8> {
    let p = &r.predictions;
    let text = |text: &str| [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    match column {
        "image_id" => r.image_id.to_le_bytes().to_vec(),
        "view" => r.view.to_le_bytes().to_vec(),
        "path" => text(&r.path),
        "width" => r.size.width.to_le_bytes().to_vec(),
        "height" => r.size.height.to_le_bytes().to_vec(),
        "file_sha256" => r.file_sha256.to_vec(),
        "scale" => r.letterbox.scale.to_le_bytes().to_vec(),
        "pad_left" => r.letterbox.pad_left.to_le_bytes().to_vec(),
        "pad_top" => r.letterbox.pad_top.to_le_bytes().to_vec(),
        "view_scale" => r.change.scale.to_le_bytes().to_vec(),
        "view_offset_x" => r.change.offset_x.to_le_bytes().to_vec(),
        "view_offset_y" => r.change.offset_y.to_le_bytes().to_vec(),
        "view_flip" => vec![u8::from(r.change.flip)],
        "view_hue" => r.change.hue.to_le_bytes().to_vec(),
        "view_saturation" => r.change.saturation.to_le_bytes().to_vec(),
        "view_value" => r.change.value.to_le_bytes().to_vec(),
        "row_count" => (p.score.len() as u32).to_le_bytes().to_vec(),
        "class_row_count" => ((p.class_logits.len() / class_len) as u32).to_le_bytes().to_vec(),
        "dropped_max_score" => r.dropped_max_score.to_le_bytes().to_vec(),
        "dropped_mean_prob" => r.dropped_mean_prob.to_le_bytes().to_vec(),
        "dropped_score_sum" => r.dropped_score_sum.to_le_bytes().to_vec(),
        "rest_mean_prob" => r.rest_mean_prob.to_le_bytes().to_vec(),
        other => panic!("the digest of a record covers the column {other}, which this test does not know"),
    }
}

/// A whole column of a record's predictions, little-endian.
pub(super) fn of_predictions(r: &ImageRecord, column: &str) -> Vec<u8> {
    let p = &r.predictions;
    let edges = |edge: fn(&logitcache::types::BoxXyxyPx) -> f32| {
        p.boxes_xyxy_px.iter().flat_map(|b| edge(b).to_le_bytes()).collect::<Vec<u8>>()
    };
    match column {
        "anchor" => p.anchor.iter().flat_map(|v| v.to_le_bytes()).collect(),
        "stride" => p.stride.iter().flat_map(|v| v.to_le_bytes()).collect(),
        "score" => p.score.iter().flat_map(|v| v.to_le_bytes()).collect(),
        "class_id" => p.class_id.iter().flat_map(|v| v.to_le_bytes()).collect(),
        "x1" => edges(|b| b.x1),
        "y1" => edges(|b| b.y1),
        "x2" => edges(|b| b.x2),
        "y2" => edges(|b| b.y2),
        "class_logits" => p.class_logits.iter().flat_map(|v| v.to_le_bytes()).collect(),
        "dfl_logits" => p.dfl_logits.iter().flat_map(|v| v.to_le_bytes()).collect(),
        other => panic!("the digest of a record covers the column {other}, which this test does not know"),
    }
}

/// How many bytes a value of this type has by the row of the record's digest; `None` of a text, which has any number.
fn stated_bytes(row: &str, kind: &str) -> Option<usize> {
    let of_part = |part: &str| {
        let words: Vec<&str> = part.split_whitespace().collect();
        let bytes = words.iter().find_map(|word| word.parse().ok());
        bytes.filter(|_| words.contains(&kind))
    };
    let stated = row.split(", ").find_map(of_part);
    assert!(stated.is_some() || kind == "STRING", "the document does not say how many bytes a {kind} has");
    stated
}

fn all_records() -> Vec<(Manifest, Vec<ImageRecord>)> {
    let views = manifest_with_views(2, 12);
    let of_views = with_views(&views, 5, &records(&views, 5));
    [manifest(3, 4, Store::All, 12), manifest(5, 4, Store::Cls, 12), compact_manifest(3, 4, Store::All, 12)]
        .into_iter()
        .map(|m| (m.clone(), records(&m, 7)))
        .chain([(views, of_views)])
        .collect()
}

#[test]
fn the_digest_of_a_record_is_that_of_the_document() {
    let rows = table("`record_sha256` of an image:\n\n| bytes | content |");
    let [first, images, lengths, predictions] = &rows[..] else { panic!("{rows:?}") };
    let tag = tag(&first[1]);
    assert_eq!(first[0], tag.len().to_string());
    let (left_out, widths) = images[1].split_once(" but ").unwrap().1.split_once(": ").unwrap();
    let left_out: Vec<String> = left_out.replace(" and ", ", ").split(", ").map(str::to_owned).collect();
    let of_images: Vec<(String, String)> =
        columns("images").into_iter().filter(|(name, _)| !left_out.contains(name)).collect();
    assert_eq!(lengths[0], "2 x 4");
    assert!(lengths[1].starts_with("number of classes C u32, DFL length D u32"), "{lengths:?}");
    let not_twice = predictions[1].split_once("except ").unwrap().1.split_once(", one whole column").unwrap().0;
    let of_rows: Vec<String> = columns("predictions")
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| !not_twice.split(" and ").any(|known| known == name))
        .collect();
    assert!(of_images.len() > 20 && of_rows.len() == 10);
    for (m, records) in all_records() {
        for r in &records {
            let mut hash = Sha256::new_with_prefix(&tag);
            for (name, kind) in &of_images {
                let value = of_image(r, m.class_len(), name);
                let stated = match name.as_str() {
                    "file_sha256" => Some(between("file_sha256 its ", " bytes").parse().unwrap()),
                    _ => stated_bytes(widths, kind),
                };
                assert!(stated.is_none_or(|stated| stated == value.len()), "{name}: {} bytes, {stated:?}", value.len());
                hash.update(value);
            }
            hash.update((m.class_len() as u32).to_le_bytes());
            hash.update((m.dfl_len() as u32).to_le_bytes());
            of_rows.iter().for_each(|name| hash.update(of_predictions(r, name)));
            let found = record_digest(r, m.class_len() as u32, m.dfl_len() as u32);
            assert_eq!(to_hex(&hash.finalize()), to_hex(&found), "image {}, view {}", r.image_id, r.view);
        }
    }
}

#[test]
fn the_digest_of_labels_is_that_of_the_document() {
    let rows = table("`labels_sha256` of an image:\n\n| bytes | content |");
    let [first, labelled, count, columns] = &rows[..] else { panic!("{rows:?}") };
    let tag = tag(&first[1]);
    assert_eq!(first[0], tag.len().to_string());
    assert_eq!((labelled[0].as_str(), labelled[1].as_str()), ("1", "1 if labelled, else 0"));
    assert_eq!((count[0].as_str(), count[1].as_str()), ("4", "number of labels m u32"));
    let names = columns[1].strip_prefix("the columns ").unwrap().replace(" u32", "").replace(" f32", "");
    for r in all_records().iter().flat_map(|(_, records)| records) {
        let labels = r.labels.as_deref().unwrap_or_default();
        let mut hash = Sha256::new_with_prefix(&tag);
        hash.update([u8::from(r.labels.is_some())]);
        hash.update((labels.len() as u32).to_le_bytes());
        for name in names.split(", ") {
            for label in labels {
                let b = &label.box_xyxy_px;
                hash.update(match name {
                    "class_id" => label.class_id.to_le_bytes(),
                    "x1" => b.x1.to_le_bytes(),
                    "y1" => b.y1.to_le_bytes(),
                    "x2" => b.x2.to_le_bytes(),
                    "y2" => b.y2.to_le_bytes(),
                    other => panic!("labels have no {other}"),
                });
            }
        }
        assert_eq!(to_hex(&hash.finalize()), to_hex(&labels_digest(r.labels.as_deref())), "image {}", r.image_id);
    }
}

#[test]
fn the_digests_of_a_cache_are_those_of_the_document() {
    let digest = |seed: u8| [seed; 32];
    let images: Vec<ImageDigests> =
        (0..5).map(|n| ImageDigests { file: digest(n), record: digest(n + 50), labels: digest(n + 100) }).collect();
    let mut hasher = ContentHasher::default();
    images.iter().for_each(|image| hasher.push(image));
    let found = hasher.finish();
    let rows = table("| digest | bytes |");
    assert_eq!(rows.len(), 3);
    for row in rows {
        let mut hash = Sha256::new_with_prefix(tag(&row[1]));
        let (_, of_each) = row[1].split_once("then for each image the ").unwrap();
        for image in &images {
            for part in of_each.split(" and ") {
                assert!(part.contains("32 of") || part.contains("32 bytes of"), "{part}");
                hash.update(match part.split_whitespace().last().unwrap() {
                    "file_sha256" => image.file,
                    "record_sha256" => image.record,
                    "labels_sha256" => image.labels,
                    other => panic!("images have no {other}"),
                });
            }
        }
        let found = match quoted(&row[0])[0].as_str() {
            "content_sha256" => &found.content_sha256,
            "images_sha256" => &found.images_sha256,
            "labels_sha256" => &found.labels_sha256,
            other => panic!("a cache has no {other}"),
        };
        assert_eq!(&to_hex(&hash.finalize()), found, "{}", row[0]);
    }
}
