//! Chain ids: the name of a layer together with everything below it.
//!
//! Source: image-spec `config.md` "Layer ChainID": `chain(1) = diff(1)`,
//! `chain(n) = sha256(chain(n-1) + " " + diff(n))`.

use types::Digest;

/// The sha256 digest of `bytes`.
pub fn sha256(bytes: &[u8]) -> Digest {
    finish(&ring::digest::digest(&ring::digest::SHA256, bytes))
}

/// The value of a finished SHA-256 as a digest.
pub(crate) fn finish(value: &ring::digest::Digest) -> Digest {
    Digest::from_sha256(value.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// The chain id of each layer, lowest first.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(below) => sha256(format!("{below} {diff_id}").as_bytes()),
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_name_what_is_below() {
        let diff = |n: u8| Digest::from_sha256(&[n; 32]);
        assert_eq!(chain_ids(&[]), []);
        let chain = chain_ids(&[diff(1), diff(2), diff(3)]);
        assert_eq!(chain[0], diff(1));
        assert_eq!(chain[1], sha256(format!("{} {}", diff(1), diff(2)).as_bytes()));
        assert_eq!(chain[2], sha256(format!("{} {}", chain[1], diff(3)).as_bytes()));
        assert_eq!(chain_ids(&[diff(1), diff(2)])[1], chain[1]);
        assert_ne!(chain_ids(&[diff(2), diff(1)])[1], chain[1]);
    }
}
