//! Names for containers whose users gave none: an adjective and somebody who made computers what they are.

const ADJECTIVES: [&str; 64] = [
    "able", "agile", "amber", "ample", "apt", "azure", "bold", "brave", "bright", "brisk", "calm",
    "candid", "clear", "clever", "cosmic", "crisp", "curious", "daring", "deft", "eager",
    "earnest", "exact", "fair", "fleet", "fluent", "frank", "gentle", "glad", "golden", "grand",
    "happy", "hardy", "honest", "humble", "jolly", "keen", "kind", "lively", "loyal", "lucid",
    "merry", "modest", "neat", "nimble", "noble", "patient", "placid", "plucky", "polite", "proud",
    "quick", "quiet", "ready", "serene", "sharp", "sincere", "smart", "solid", "steady", "sunny",
    "tidy", "vivid", "warm", "wise",
];

const PEOPLE: [&str; 64] = [
    "adleman",
    "allen",
    "babbage",
    "backus",
    "bartik",
    "berners",
    "boole",
    "borg",
    "brooks",
    "burks",
    "cerf",
    "church",
    "clarke",
    "codd",
    "cray",
    "curry",
    "dahl",
    "diffie",
    "dijkstra",
    "easley",
    "engelbart",
    "estrin",
    "feinler",
    "floyd",
    "goldberg",
    "gosling",
    "gray",
    "hamilton",
    "hamming",
    "hellman",
    "hoare",
    "holberton",
    "hopper",
    "iverson",
    "johnson",
    "kahan",
    "karp",
    "kay",
    "keller",
    "kernighan",
    "kilburn",
    "knuth",
    "lamarr",
    "lamport",
    "liskov",
    "lovelace",
    "mccarthy",
    "milner",
    "minsky",
    "moore",
    "naur",
    "neumann",
    "noether",
    "nygaard",
    "perlman",
    "postel",
    "rabin",
    "ritchie",
    "shannon",
    "sammet",
    "thompson",
    "turing",
    "wirth",
    "zuse",
];

/// The name that `random` stands for; `attempt` above 0 gets a number at the end, as the first one was taken.
pub(crate) fn generate(random: u64, attempt: u32) -> String {
    let pick = |list: &[&'static str; 64], bits: u64| list[usize::try_from(bits & 63).unwrap_or(0)];
    let name = format!("{}_{}", pick(&ADJECTIVES, random), pick(&PEOPLE, random >> 6));
    if attempt == 0 { name } else { format!("{name}{}", (random >> 12) % 10_000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_valid() {
        for random in 0..4096 {
            generate(random, 0).parse::<types::ContainerName>().unwrap();
        }
        assert_ne!(generate(5, 0), generate(5, 1));
    }
}
