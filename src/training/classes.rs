//! The student's classes beside the teacher's.

use crate::{
    Result,
    cache::{LabelsState, Manifest},
    dataset::{ClassMap, Dataset, NameMap},
    types::LabelBox,
    words::counted,
};
use std::collections::HashSet;

/// What the student is to find, and which of it the teacher knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes {
    /// The student's, in the order of its ids.
    pub names: Vec<String>,
    /// `[names]` the teacher's id of each; `None` where the teacher lacks it, so that labels alone teach it.
    teacher_ids: Vec<Option<u32>>,
    teacher_classes: usize,
}

/// The classes that both know, where these are not simply all of both, in one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedClasses {
    /// Ids of the student.
    pub student: Vec<i64>,
    /// Ids of the teacher, of the same classes.
    pub teacher: Vec<usize>,
}

impl Classes {
    /// Of a student without a teacher.
    pub fn own(names: Vec<String>) -> Self {
        let teacher_ids = (0..).map(Some).take(names.len()).collect();
        Self { teacher_classes: names.len(), teacher_ids, names }
    }

    /// Of a student that learns from a cache: the classes of the data set that has its labels (`data`, else the cache's own),
    /// under the teacher's names where `map` says so. The teacher's own where there are no labels, or where the data set has
    /// the very same classes in whatever order.
    ///
    /// # Errors
    /// [`Error::Classes`] where student and teacher have no class in common.
    pub fn of_cache(manifest: &Manifest, data: Option<&Dataset>, map: &NameMap) -> Result<Self> {
        let teacher = &manifest.teacher.class_names;
        let stored = &manifest.dataset.class_names;
        let names = match data.and_then(|data| data.class_names.as_ref()) {
            Some(names) => names,
            None if manifest.dataset.labels == LabelsState::Stored && !stored.is_empty() => stored,
            None => return Ok(Self::own(teacher.clone())),
        };
        let mut seen = HashSet::new();
        let names: Vec<String> = map.renamed(names).into_iter().filter(|name| seen.insert(name.clone())).collect();
        let known: HashSet<&String> = teacher.iter().collect();
        if names.len() == known.len() && names.iter().all(|name| known.contains(name)) {
            return Ok(Self::own(teacher.clone()));
        }
        let id = |name: &String| teacher.iter().position(|other| other == name).map(|id| id as u32);
        let teacher_ids: Vec<Option<u32>> = names.iter().map(id).collect();
        if teacher_ids.iter().all(Option::is_none) {
            // Says which they are.
            ClassMap::new(&names, teacher)?;
        }
        Ok(Self { teacher_classes: teacher.len(), teacher_ids, names })
    }

    /// See [`SharedClasses`].
    pub fn shared(&self) -> Option<SharedClasses> {
        let all = (0..).map(Some).take(self.teacher_classes);
        if self.teacher_ids.iter().copied().eq(all) {
            return None;
        }
        let pairs = (0..).zip(&self.teacher_ids).filter_map(|(student, teacher)| Some((student, (*teacher)? as usize)));
        let (student, teacher) = pairs.unzip();
        Some(SharedClasses { student, teacher })
    }

    /// What the user should know: which classes one of the two lacks.
    pub fn note(&self) -> Option<String> {
        let shared = self.shared()?;
        let left_out = self.teacher_classes - shared.teacher.len();
        let mut note = format!(
            "the student has the {} of the data set; the teacher knows {} of them, and {} of its own {} left out",
            counted(self.names.len(), "class"),
            shared.teacher.len(),
            counted(left_out, "class"),
            if left_out == 1 { "is" } else { "are" }
        );
        let lacking = self.names.iter().zip(&self.teacher_ids).filter(|(_, id)| id.is_none()).map(|(name, _)| name);
        let lacking: Vec<&str> = lacking.map(String::as_str).collect();
        if !lacking.is_empty() {
            note += &format!(". From labels alone it learns: {}", lacking.join(", "));
        }
        Some(note)
    }

    /// Labels in the teacher's ids as labels in the student's.
    ///
    /// # Errors
    /// In words, where the student lacks a class.
    pub fn of_stored(&self, labels: impl Iterator<Item = LabelBox>) -> Result<Vec<LabelBox>, String> {
        let own = |label: LabelBox| {
            let found = self.teacher_ids.iter().position(|id| *id == Some(label.class_id));
            let class_id = found.ok_or_else(|| {
                format!("a label has the teacher's class {}, which the student does not have", label.class_id)
            })?;
            Ok(LabelBox { class_id: class_id as u32, ..label })
        };
        labels.map(own).collect()
    }

    /// From the classes of a data set to the student's, under the names of `map`; with what is to be noted of them.
    ///
    /// # Errors
    /// As [`ClassMap::of`], against the teacher's classes: labels of a class that neither it nor `map` knows.
    pub fn of_dataset(
        &self,
        dataset: &Dataset,
        teacher_names: &[String],
        map: &NameMap,
    ) -> Result<(ClassMap, Vec<String>)> {
        let (_, notes) = ClassMap::of(dataset, teacher_names, map)?;
        let names = dataset.class_names.as_deref().unwrap_or_default();
        Ok((ClassMap::renamed(names, map, &self.names)?, notes))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::types::BoxXyxyPx;

    fn classes(names: &[&str], teacher_ids: &[Option<u32>], teacher_classes: usize) -> Classes {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Classes { names, teacher_ids: teacher_ids.to_vec(), teacher_classes }
    }

    #[test]
    fn the_same_classes_are_not_looked_up() {
        let own = Classes::own(vec!["a".into(), "b".into()]);
        assert_eq!((own.shared(), own.note()), (None, None));
        // All of the student's, but not all of the teacher's.
        let fewer = classes(&["a"], &[Some(0)], 2);
        assert_eq!(fewer.shared(), Some(SharedClasses { student: vec![0], teacher: vec![0] }));
    }

    #[test]
    fn labels_and_columns_lead_to_the_students_classes() {
        let classes = classes(&["cup", "helmet", "cat"], &[Some(7), None, Some(2)], 80);
        assert_eq!(classes.shared(), Some(SharedClasses { student: vec![0, 2], teacher: vec![7, 2] }));
        let note = classes.note().unwrap();
        assert!(
            note.contains("3 classes") && note.contains("knows 2") && note.contains("78 classes of its own"),
            "{note}"
        );
        assert!(note.ends_with("From labels alone it learns: helmet"), "{note}");
        let label = |class_id| LabelBox { class_id, box_xyxy_px: BoxXyxyPx::default() };
        let ids = |of: Vec<LabelBox>| of.iter().map(|label| label.class_id).collect::<Vec<_>>();
        assert_eq!(ids(classes.of_stored([label(2), label(7)].into_iter()).unwrap()), [2, 0]);
        assert!(classes.of_stored([label(3)].into_iter()).unwrap_err().contains("class 3"));
    }
}
