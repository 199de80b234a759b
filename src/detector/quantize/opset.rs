//! Opset 13 for older files: the first whose `DequantizeLinear` has a scale for each channel.

use super::super::onnx::{
    graph::{GraphIndex, attribute_int},
    proto::{GraphProto, ModelProto, NodeProto, TensorProto, tensor_proto::DataType},
    quantized::fresh_prefix,
};

/// What [`to_13`] gives at least.
pub(super) const NEEDED: i64 = 13;

/// The oldest that it takes: before it, `Resize`, `Clip` and `Pad` had other inputs.
const OLDEST: i64 = 11;

/// The first `ir_version` that may hold opset 13.
const IR_VERSION: i64 = 7;

/// Raises the opset of a model to 13 where it is lower. Between 11 and 13, four operators got an attribute as an input, and the
/// axis of a softmax is no longer where dimensions are joined.
///
/// # Errors
/// In words, what stands against it.
pub(super) fn to_13(model: &mut ModelProto) -> Result<(), String> {
    let own = model.opset_import.iter_mut().find(|import| matches!(import.domain(), "" | "ai.onnx"));
    let import = own.ok_or("this model does not say which opset it has")?;
    let opset = import.version.unwrap_or_default();
    if opset >= NEEDED {
        return Ok(());
    }
    if opset < OLDEST {
        return Err(format!("this model has opset {opset}"));
    }
    import.version = Some(NEEDED);
    model.ir_version = model.ir_version.map(|version| version.max(IR_VERSION));
    let Some(graph) = model.graph.as_mut() else { return Ok(()) };
    let prefix = format!("{}opset/", fresh_prefix(graph));
    let original = graph.clone();
    let index = GraphIndex::new(&original);
    let mut constants = Vec::new();
    for node in &mut graph.node {
        match node.op_type() {
            "Split" => attribute_to_input(node, "split", &prefix, &mut constants),
            "Squeeze" | "Unsqueeze" | "ReduceSum" => attribute_to_input(node, "axes", &prefix, &mut constants),
            "Softmax" | "LogSoftmax" | "Hardmax" => keep_axis(node, &index, &original)?,
            "If" | "Loop" | "Scan" => {
                return Err(format!(
                    "this model has opset {opset} and an operator with a graph inside ({})",
                    node.op_type()
                ));
            }
            _ => {}
        }
    }
    graph.initializer.extend(constants);
    Ok(())
}

fn attribute_to_input(node: &mut NodeProto, name: &str, prefix: &str, constants: &mut Vec<TensorProto>) {
    let Some(at) = node.attribute.iter().position(|attribute| attribute.name() == name) else { return };
    let values = node.attribute.remove(at).ints;
    let constant = format!("{prefix}{}", node.output.first().map_or("", String::as_str));
    constants.push(TensorProto {
        name: Some(constant.clone()),
        dims: vec![values.len() as i64],
        data_type: Some(DataType::Int64 as i32),
        int64_data: values,
        ..Default::default()
    });
    node.input.truncate(1);
    node.input.push(constant);
}

/// Before opset 13 a softmax goes over `axis` and all later dimensions together: the same only over the last one.
fn keep_axis(node: &mut NodeProto, index: &GraphIndex<'_>, graph: &GraphProto) -> Result<(), String> {
    let axis = attribute_int(node, "axis");
    let is_last = match axis {
        Some(-1) => true,
        axis => node
            .input
            .first()
            .and_then(|input| rank(input, index, graph))
            .is_some_and(|rank| axis.unwrap_or(1) == rank - 1),
    };
    if !is_last {
        return Err(format!(
            "this model has an opset before 13 and a {} that may go over several dimensions",
            node.op_type()
        ));
    }
    node.attribute.retain(|attribute| attribute.name() != "axis");
    Ok(())
}

/// The number of dimensions of a tensor, where the graph says it.
fn rank(tensor: &str, index: &GraphIndex<'_>, graph: &GraphProto) -> Option<i64> {
    let declared = graph.value_info.iter().chain(&graph.output).find(|value| value.name() == tensor);
    let declared = declared.and_then(super::super::onnx::graph::declared).map(|(_, dims)| dims.len() as i64);
    declared.or_else(|| {
        let node = index.producer(tensor)?;
        match node.op_type() {
            "Reshape" => Some(index.ints(node.input.get(1)?)?.len() as i64),
            "Transpose" => node
                .attribute
                .iter()
                .find(|attribute| attribute.name() == "perm")
                .map(|attribute| attribute.ints.len() as i64),
            _ => None,
        }
    })
}
