//! Finding a cluster to join: where the members named by `join` may listen for others, one after another, again and again.

use super::metadata::{Member, Metadata, NodeId};

/// Where `node` listens for others.
pub fn address_of(map: &Metadata, node: NodeId) -> Option<String> {
    map.members.get(&node).map(Member::cluster_address)
}

/// Where the member may listen for others that `seed` names by its client address: by the usual rule, or by what follows an `@`.
pub fn candidates(seed: &str) -> Vec<String> {
    if let Some((client, cluster_port)) = seed.split_once('@') {
        let host = client.rsplit_once(':').map_or(client, |(host, _)| host);
        return vec![format!("{host}:{cluster_port}")];
    }
    let Some((host, port)) = seed.rsplit_once(':') else { return vec![format!("{seed}:16379")] };
    let port: u32 = port.parse().unwrap_or(0);
    let mut all = Vec::new();
    if port + 10000 <= 65535 {
        all.push(format!("{host}:{}", port + 10000));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_names_where_it_listens_for_others() {
        assert_eq!(candidates("a:7000"), ["a:17000"]);
        assert_eq!(candidates("a:7000@7500"), ["a:7500"]);
        assert_eq!(candidates("a"), ["a:16379"]);
        assert!(candidates("a:60000").is_empty());
    }
}
