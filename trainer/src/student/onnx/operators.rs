//! Operators that only what lies behind the convolutions needs, each as one function.

use super::{
    graph::{Graph, Operand, int_attribute},
    options::NmsInside,
};
use crate::detector::onnx::proto::tensor_proto::DataType;

impl Graph<'_> {
    pub fn cast(&mut self, name: &str, x: &Operand, to: DataType) -> Operand {
        self.one("Cast", name, &[&x.name], vec![int_attribute("to", i64::from(to as i32))], x.channels)
    }

    pub fn float_of(&mut self, name: &str, x: &Operand) -> Operand {
        self.cast(name, x, DataType::Float)
    }

    pub fn ternary(&mut self, op: &str, name: &str, [a, b, c]: [&Operand; 3]) -> Operand {
        self.one(op, name, &[&a.name, &b.name, &c.name], vec![], a.channels)
    }

    /// Rows and columns of a map, `[2]`.
    pub fn map_size(&mut self, name: &str, map: &Operand) -> Operand {
        let attributes = vec![int_attribute("start", 2), int_attribute("end", 4)];
        self.one("Shape", name, &[&map.name], attributes, 0)
    }

    /// 0.5, 1.5, .. for as many cells as `size` has at `at`.
    pub fn cell_centres(&mut self, name: &str, size: &Operand, at: i64) -> Operand {
        let part = |part: &str| format!("{name}_{part}");
        let [at, zero, one] = [at, 0, 1].map(|value| self.int(value));
        let count = self.one("Gather", &part("count"), &[&size.name, &at], vec![], 0);
        let cells = self.one("Range", &part("cells"), &[&zero, &count.name, &one], vec![], 0);
        let cells = self.float_of(&part("edges"), &cells);
        let half = self.floats("half", &[], vec![0.5]);
        self.binary("Add", &part("centres"), &cells, &half)
    }

    /// The `count` highest values along an axis, highest first, and where they stand; of equal ones the first.
    pub fn top(&mut self, name: &str, x: &Operand, count: usize, axis: i64) -> [Operand; 2] {
        let k = self.ints(&[count as i64]);
        let names = ["values", "places"].map(|part| format!("{name}_{part}"));
        let outputs = names.each_ref().map(String::as_str);
        self.node("TopK", name, &[&x.name, &k], &outputs, vec![int_attribute("axis", axis)]);
        names.map(|name| Operand { name, channels: 1 })
    }

    /// `[K, 3]`: image, 0, place of the boxes that stay; of `boxes` `[B, A, 4]` and `scores` `[B, 1, A]`.
    pub fn non_max_suppression(&mut self, name: &str, [boxes, scores]: [&Operand; 2], nms: &NmsInside) -> Operand {
        let most = self.ints(&[nms.max_det as i64]);
        let iou = self.floats("nms_iou", &[1], vec![nms.iou]);
        let conf = self.floats("nms_conf", &[1], vec![nms.conf]);
        let inputs = [&boxes.name, &scores.name, &most, &iou.name, &conf.name].map(String::as_str);
        self.one("NonMaxSuppression", name, &inputs, vec![], 0)
    }

    /// `count` zeros behind the last values of `[B, channels, A]`.
    pub fn pad_end(&mut self, name: &str, x: &Operand, count: usize) -> Operand {
        let pads = self.ints(&[0, 0, 0, 0, 0, count as i64]);
        self.one("Pad", name, &[&x.name, &pads], vec![], x.channels)
    }

    /// Of every row of the last dimension the values at these places.
    pub fn gather_elements(&mut self, name: &str, x: &Operand, places: &Operand) -> Operand {
        self.one("GatherElements", name, &[&x.name, &places.name], vec![int_attribute("axis", 2)], x.channels)
    }

    fn int(&mut self, value: i64) -> String {
        let name = format!("number_{value}");
        self.constant(&name, &[], DataType::Int64, value.to_le_bytes().to_vec());
        name
    }
}
