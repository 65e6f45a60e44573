//! Combinations of labels: each has a place, so that a series is an array index, and all of them exist at start.

use std::sync::LazyLock;

use crate::goproxy::artifact::Endpoint;
use crate::telemetry::labels::Answer;
use crate::telemetry::labels::CodeClass;
use crate::telemetry::labels::Label;

/// A tuple of labels: the whole product is registered at start, so every series exists from the first scrape.
pub trait Labels: Copy + 'static {
    /// How many combinations there are.
    fn count() -> usize;
    /// The place of this combination, below [`Labels::count`].
    fn place(self) -> usize;
    /// Name and text of each label of the combination at a place.
    fn at(place: usize) -> Vec<(&'static str, &'static str)>;
    /// Each label with all its values, for the catalogue.
    fn sets() -> Vec<LabelSet>;
}

/// A label and every value it can take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSet {
    /// The label's name.
    pub name: &'static str,
    /// Its values; none if they are names of the configuration.
    pub values: Vec<&'static str>,
}

fn set<L: Label>() -> LabelSet {
    LabelSet { name: L::NAME, values: L::values().iter().map(|value| value.text()).collect() }
}

impl Labels for () {
    fn count() -> usize {
        1
    }
    fn place(self) -> usize {
        0
    }
    fn at(_place: usize) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }
    fn sets() -> Vec<LabelSet> {
        Vec::new()
    }
}

fn text_at<L: Label>(place: usize) -> Option<(&'static str, &'static str)> {
    L::values().get(place).map(|value| (L::NAME, value.text()))
}

impl<A: Label> Labels for (A,) {
    fn count() -> usize {
        A::values().len()
    }
    fn place(self) -> usize {
        self.0.place()
    }
    fn at(place: usize) -> Vec<(&'static str, &'static str)> {
        text_at::<A>(place).into_iter().collect()
    }
    fn sets() -> Vec<LabelSet> {
        vec![set::<A>()]
    }
}

impl<A: Label, B: Label> Labels for (A, B) {
    fn count() -> usize {
        A::values().len() * B::values().len()
    }
    fn place(self) -> usize {
        self.0.place() * B::values().len() + self.1.place()
    }
    fn at(place: usize) -> Vec<(&'static str, &'static str)> {
        let inner = B::values().len();
        text_at::<A>(place / inner).into_iter().chain(text_at::<B>(place % inner)).collect()
    }
    fn sets() -> Vec<LabelSet> {
        vec![set::<A>(), set::<B>()]
    }
}

impl<A: Label, B: Label, C: Label> Labels for (A, B, C) {
    fn count() -> usize {
        A::values().len() * <(B, C)>::count()
    }
    fn place(self) -> usize {
        self.0.place() * <(B, C)>::count() + (self.1, self.2).place()
    }
    fn at(place: usize) -> Vec<(&'static str, &'static str)> {
        let inner = <(B, C)>::count();
        text_at::<A>(place / inner).into_iter().chain(<(B, C)>::at(place % inner)).collect()
    }
    fn sets() -> Vec<LabelSet> {
        vec![set::<A>(), set::<B>(), set::<C>()]
    }
}

/// How a request was served: only the combinations that can happen, since a histogram of it has the most lines.
#[derive(Debug, Clone, Copy)]
pub struct Served(pub Endpoint, pub CodeClass, pub Answer);

/// Whether an endpoint answers with what was looked for in tiers; our own pages are never looked for.
const fn is_content(endpoint: Endpoint) -> bool {
    !matches!(endpoint, Endpoint::Own | Endpoint::Root | Endpoint::Admin | Endpoint::Other)
}

impl Served {
    /// Whether it can be. Content of modules and of checksum databases is never sent without having been looked for.
    const fn can_be(self) -> bool {
        let content = is_content(self.0);
        match (self.2, self.1) {
            (Answer::Hit | Answer::Miss, _) => content,
            (Answer::None, CodeClass::Success | CodeClass::Redirect) => !content,
            (Answer::None, CodeClass::Client | CodeClass::Server) => true,
        }
    }

    fn all() -> &'static [Self] {
        static ALL: LazyLock<Vec<Served>> = LazyLock::new(|| {
            let all = Endpoint::values().iter().flat_map(|endpoint| {
                CodeClass::values().iter().flat_map(|class| {
                    Answer::values().iter().map(|answer| Served(*endpoint, *class, *answer))
                })
            });
            all.filter(|served| served.can_be()).collect()
        });
        &ALL
    }

    /// What cannot be is told as what comes nearest.
    const fn nearest(self) -> Self {
        match self {
            _ if self.can_be() => self,
            Self(endpoint, class, Answer::None) => Self(endpoint, class, Answer::Miss),
            Self(endpoint, class, _) => Self(endpoint, class, Answer::None),
        }
    }
}

impl Labels for Served {
    fn count() -> usize {
        Self::all().len()
    }
    fn place(self) -> usize {
        let Self(endpoint, class, answer) = self.nearest();
        let is_it = |one: &Self| one.0 == endpoint && one.1 == class && one.2 == answer;
        Self::all().iter().position(is_it).unwrap_or_default()
    }
    fn at(place: usize) -> Vec<(&'static str, &'static str)> {
        let Some(Self(endpoint, class, answer)) = Self::all().get(place).copied() else {
            return Vec::new();
        };
        <(Endpoint, CodeClass, Answer)>::at((endpoint, class, answer).place())
    }
    fn sets() -> Vec<LabelSet> {
        <(Endpoint, CodeClass, Answer)>::sets()
    }
}

/// How an answer began: again only the combinations that can happen.
#[derive(Debug, Clone, Copy)]
pub struct Begun(pub Endpoint, pub Answer);

impl Begun {
    fn all() -> &'static [Self] {
        static ALL: LazyLock<Vec<Begun>> = LazyLock::new(|| {
            let all = Endpoint::values().iter().flat_map(|endpoint| {
                Answer::values().iter().map(|answer| Begun(*endpoint, *answer))
            });
            all.filter(|begun| is_content(begun.0) || begun.1 == Answer::None).collect()
        });
        &ALL
    }
}

impl Labels for Begun {
    fn count() -> usize {
        Self::all().len()
    }
    fn place(self) -> usize {
        let Self(endpoint, answer) = self;
        // what cannot be is told as what comes nearest
        let answer = if is_content(endpoint) { answer } else { Answer::None };
        let is_it = |one: &Self| one.0 == endpoint && one.1 == answer;
        Self::all().iter().position(is_it).unwrap_or_default()
    }
    fn at(place: usize) -> Vec<(&'static str, &'static str)> {
        let begun = Self::all().get(place);
        begun.map_or_else(Vec::new, |one| <(Endpoint, Answer)>::at((one.0, one.1).place()))
    }
    fn sets() -> Vec<LabelSet> {
        <(Endpoint, Answer)>::sets()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::labels::Code;
    use crate::telemetry::labels::Outcome;

    #[test]
    fn a_place_finds_its_combination_again() {
        for &endpoint in Endpoint::values() {
            for &code in Code::values() {
                for &outcome in Outcome::values() {
                    let place = (endpoint, code, outcome).place();
                    assert!(place < <(Endpoint, Code, Outcome)>::count());
                    let expected =
                        [endpoint.word(), code.text(), outcome.text()].map(str::to_owned);
                    let found: Vec<_> = <(Endpoint, Code, Outcome)>::at(place)
                        .into_iter()
                        .map(|(_, text)| text.to_owned())
                        .collect();
                    assert_eq!(found, expected);
                }
            }
        }
    }

    #[test]
    fn what_can_happen_has_a_place_of_its_own_and_what_cannot_the_nearest() {
        let mut places: Vec<_> = Served::all().iter().map(|served| served.place()).collect();
        places.dedup();
        assert_eq!(places, (0..Served::count()).collect::<Vec<_>>());
        let begun: Vec<_> = Begun::all().iter().map(|begun| begun.place()).collect();
        assert_eq!(begun, (0..Begun::count()).collect::<Vec<_>>());
        let odd = Begun(Endpoint::Own, Answer::Hit);
        assert_eq!(odd.place(), Begun(Endpoint::Own, Answer::None).place());
        let odd = Served(Endpoint::Zip, CodeClass::Success, Answer::None);
        assert_eq!(odd.place(), Served(Endpoint::Zip, CodeClass::Success, Answer::Miss).place());
    }
}
