//! What `cargo metadata` says, as far as it is used.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::command;

#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_members: BTreeSet<String>,
    pub(crate) target_directory: String,
    /// Absent when only the workspace was asked for.
    resolve: Option<Resolve>,
}

#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) license_file: Option<String>,
    /// Absent for a package of this workspace.
    pub(crate) source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// Nothing for a normal dependency, else `dev` or `build`.
    kind: Option<String>,
}

impl Metadata {
    /// Every package of the lock file.
    pub(crate) fn load() -> anyhow::Result<Self> {
        parse(&["metadata", "--format-version", "1", "--locked"])
    }

    /// The workspace alone: no network, no lock file.
    pub(crate) fn load_workspace() -> anyhow::Result<Self> {
        parse(&["metadata", "--format-version", "1", "--no-deps"])
    }

    pub(crate) fn id_of(&self, name: &str) -> Option<&str> {
        self.packages.iter().find(|it| it.source.is_none() && it.name == name).map(|it| it.id.as_str())
    }

    /// Names of the packages of this workspace that `id` depends on directly, for tests and builds included.
    pub(crate) fn neighbours(&self, id: &str) -> BTreeSet<&str> {
        let node = self.resolve.iter().flat_map(|it| &it.nodes).find(|it| it.id == id);
        let ids = node.into_iter().flat_map(|it| &it.deps).map(|it| it.pkg.as_str());
        ids.filter(|id| self.workspace_members.contains(*id))
            .filter_map(|id| self.package(id))
            .map(|it| it.name.as_str())
            .collect()
    }

    /// Everything that is compiled into `id`: normal dependencies of normal dependencies, by name, with the name of the
    /// package that brought it in.
    pub(crate) fn normal_tree(&self, id: &str) -> BTreeMap<&str, &str> {
        let nodes: BTreeMap<&str, &Node> =
            self.resolve.iter().flat_map(|it| &it.nodes).map(|it| (it.id.as_str(), it)).collect();
        let mut tree = BTreeMap::new();
        let mut seen = BTreeSet::from([id]);
        let mut open = vec![id];
        while let Some(parent) = open.pop() {
            for dependency in nodes.get(parent).into_iter().flat_map(|it| &it.deps) {
                let child = dependency.pkg.as_str();
                if dependency.dep_kinds.iter().any(|it| it.kind.is_none())
                    && seen.insert(child)
                    && let (Some(parent), Some(package)) = (self.package(parent), self.package(child))
                {
                    tree.insert(package.name.as_str(), parent.name.as_str());
                    open.push(child);
                }
            }
        }
        tree
    }

    fn package(&self, id: &str) -> Option<&Package> {
        self.packages.iter().find(|it| it.id == id)
    }
}

fn parse(args: &[&str]) -> anyhow::Result<Metadata> {
    Ok(serde_json::from_str(&command::output(&mut command::cargo(args))?)?)
}
