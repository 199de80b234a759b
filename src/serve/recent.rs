//! The last values that were made, up to so many bytes.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// Values by their keys; the oldest make room.
pub(super) struct Recent<K, V> {
    most_bytes: usize,
    kept: Mutex<Kept<K, V>>,
}

struct Kept<K, V> {
    values: HashMap<K, Arc<V>>,
    /// Keys with the bytes of their values, the oldest first.
    order: VecDeque<(K, usize)>,
    bytes: usize,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    pub(super) fn new(most_bytes: usize) -> Self {
        let kept = Kept { values: HashMap::new(), order: VecDeque::new(), bytes: 0 };
        Self { most_bytes, kept: Mutex::new(kept) }
    }

    pub(super) fn get(&self, key: &K) -> Option<Arc<V>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).values.get(key).cloned()
    }

    /// Keeps a value that takes so many bytes.
    pub(super) fn put(&self, key: K, value: V, bytes: usize) -> Arc<V> {
        let value = Arc::new(value);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.values.insert(key, Arc::clone(&value)).is_none() {
            kept.order.push_back((key, bytes));
            kept.bytes += bytes;
        }
        while kept.bytes > self.most_bytes
            && let Some((oldest, bytes)) = kept.order.pop_front()
        {
            kept.values.remove(&oldest);
            kept.bytes -= bytes;
        }
        value
    }
}
