//! The tensors inside a detector, seen while it runs.
//!
//! They are no outputs of the session: all of them together are hundreds of megabytes, and outputs live until the run ends. An
//! operator of our own reads each one instead, and the runtime takes its memory back as soon as its last reader has run.

use super::super::{
    model::Detector,
    onnx::{
        graph::{int_attribute, node_of, with_outputs},
        proto::{ModelProto, OperatorSetIdProto, ValueInfoProto},
        quantized::fresh_prefix,
    },
    runtime::{
        init,
        provider::Provider,
        session::{SessionOptions, build_with},
    },
};
use crate::Result;
use ort::{
    operator::{BoxedKernel, ComputeContext, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput},
    session::{
        Session,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
    value::{TensorElementType, TensorRef},
};
use prost::Message;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The domain of the operator and its name in it.
const DOMAIN: &str = "logitcache";
const OBSERVE: &str = "Observe";

/// Which of the tensors a node reads.
const TENSOR: &str = "tensor";

/// Is given `(number of the tensor, shape, values)`; an error, in words, ends the run.
pub type Observer = Box<dyn FnMut(usize, &[usize], &[f32]) -> std::result::Result<(), String> + Send>;

/// A session that shows tensors from inside a detector. Belongs to one thread at a time.
pub struct ActivationSession {
    session: Session,
    shape: [usize; 4],
    /// Those of the tensors that are the image itself.
    images: Vec<usize>,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    observer: Observer,
    /// The first error of the observer in this run.
    failed: Option<String>,
}

impl ActivationSession {
    /// A session of `detector` that computes `tensors`, of one image, with one thread, and shows each to `observer`. It runs on
    /// the CPU whatever computes the model later: the other providers cannot call the operator.
    ///
    /// # Errors
    /// As [`crate::detector::DetectorSession::new`].
    pub fn new(detector: &Detector, tensors: &[String], observer: Observer) -> Result<Self> {
        let (images, computed): (Vec<usize>, Vec<usize>) =
            (0..tensors.len()).partition(|&i| tensors[i] == detector.ends.input);
        let names: Vec<&str> = computed.iter().map(|&i| tensors[i].as_str()).collect();
        let edited = with_outputs(&detector.original, &names, &detector.ends);
        let bytes = edited.map(|model| observed(model, &computed).encode_to_vec()).unwrap_or_default();
        let shared = Arc::new(Mutex::new(Shared { observer, failed: None }));
        let options = SessionOptions { provider: Provider::Cpu, intra_threads: 1 };
        let session = build_with(init(None)?, detector, &bytes, &options, GraphOptimizationLevel::All, |builder| {
            let domain = OperatorDomain::new(DOMAIN)?.add(Observe(shared.clone()))?;
            let said = |error: ort::Error<SessionBuilder>| ort::Error::new(error.message());
            // A plan of all memory for the next run would be made beside the memory of the first one: twice as much.
            builder.with_operators(domain).map_err(said)?.with_memory_pattern(false).map_err(said)
        })?;
        let shape = [1, 3, detector.input.height as usize, detector.input.width as usize];
        Ok(Self { session, shape, images, shared })
    }

    /// Runs one image, `[3, H, W]` as the detector takes it.
    ///
    /// # Errors
    /// What ONNX Runtime says, or the first error of the observer.
    pub fn run(&mut self, pixels: &[f32]) -> std::result::Result<(), String> {
        let said = |error: ort::Error| format!("ONNX Runtime: {}", error.message());
        for &tensor in &self.images {
            (lock(&self.shared).observer)(tensor, &self.shape, pixels)?;
        }
        let input = TensorRef::from_array_view((self.shape, pixels)).map_err(said)?;
        let result = self.session.run(ort::inputs![input]).map(drop).map_err(said);
        match lock(&self.shared).failed.take() {
            Some(why) => Err(why),
            None => result,
        }
    }
}

/// A copy of `model` in which each output is read by an operator, the number of the tensor with it.
fn observed(mut model: ModelProto, numbers: &[usize]) -> ModelProto {
    let Some(graph) = model.graph.as_mut() else { return model };
    let prefix = fresh_prefix(graph);
    let made: HashMap<&str, usize> = graph
        .node
        .iter()
        .enumerate()
        .flat_map(|(at, node)| node.output.iter().map(move |name| (name.as_str(), at)))
        .collect();
    let place = |name: &str| made.get(name).copied();
    let mut seen: Vec<(Option<usize>, &str, usize)> = graph
        .output
        .iter()
        .zip(numbers)
        .map(|(output, &number)| (place(output.name()), output.name(), number))
        .collect();
    // ONNX Runtime goes back from the ends of a graph, the last node first. With the readers of the first tensors last, each
    // tensor is read right after it was made.
    seen.sort_unstable_by(|a, b| b.cmp(a));
    let reader = |(_, name, number): &(Option<usize>, &str, usize)| {
        let mut node = node_of(OBSERVE, &[name], &format!("{prefix}{name}/observed"));
        node.domain = Some(DOMAIN.to_owned());
        node.attribute.push(int_attribute(TENSOR, *number as i64));
        node
    };
    let readers: Vec<_> = seen.iter().map(reader).collect();
    let names = readers.iter().flat_map(|node| node.output.iter().cloned());
    graph.output = names.map(|name| ValueInfoProto { name: Some(name), ..Default::default() }).collect();
    graph.node.extend(readers);
    model.opset_import.push(OperatorSetIdProto { domain: Some(DOMAIN.to_owned()), version: Some(1) });
    model
}

/// The operator.
struct Observe(Arc<Mutex<Shared>>);

impl Operator for Observe {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        OBSERVE
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(TensorElementType::Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<Self::Kernel<'attr>> {
        let tensor: i64 =
            context.get(TENSOR).ok_or_else(|| ort::Error::new("a reader without the number of its tensor"))?;
        let (tensor, shared) = (usize::try_from(tensor).unwrap_or_default(), self.0.clone());
        Ok(Box::new(move |context: &ComputeContext| show(context, tensor, &shared)))
    }
}

/// Shows a tensor; the operator's own output holds nothing.
fn show(context: &ComputeContext, tensor: usize, shared: &Mutex<Shared>) -> ort::Result<()> {
    let input = context.input(0)?.ok_or_else(|| ort::Error::new("a tensor is missing"))?;
    let (shape, values) = input.try_extract_tensor::<f32>()?;
    let shape: Vec<usize> = shape.iter().map(|dim| usize::try_from(*dim).unwrap_or_default()).collect();
    let mut shared = lock(shared);
    if let Err(why) = (shared.observer)(tensor, &shape, values) {
        let error = ort::Error::new(&why);
        shared.failed = Some(why);
        return Err(error);
    }
    context.output(0, [0i64])?;
    Ok(())
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
