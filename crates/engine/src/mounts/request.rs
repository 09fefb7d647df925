//! `--mount type=…`, as the API's `Mounts` have it.

use super::mode::PROPAGATIONS;
use super::{bind_point, destination, tmpfs, volume_point};
use crate::volumes::Wanted;
use std::path::{Component, Path};
use stdx::{Error, Result};
use store::records::container::{MountPoint, MountRequest};

/// The mount, and what its volume is to be like if it has to be made.
pub(super) fn parse(request: &MountRequest) -> Result<(MountPoint, Option<Wanted>)> {
    let invalid = |why: &str| {
        Error::invalid(format!("invalid mount config for type \"{}\": {why}", request.kind))
    };
    if !matches!(request.kind.as_str(), "bind" | "volume" | "tmpfs") {
        return Err(invalid("mount type unknown"));
    }
    if request.target.is_empty() {
        return Err(invalid("field Target must not be empty"));
    }
    let target = destination(&request.target).map_err(|e| invalid(e.message()))?;
    let (point, wanted) = match request.kind.as_str() {
        "bind" => (bind(request).map_err(|e| invalid(e.message()))?, None),
        "volume" => volume(request).map_err(|e| invalid(e.message()))?,
        _ => (memory(request).map_err(|e| invalid(e.message()))?, None),
    };
    let point = MountPoint {
        destination: target,
        rw: !request.read_only,
        read_only_non_recursive: request.read_only_non_recursive,
        ..point
    };
    Ok((point, wanted))
}

fn bind(request: &MountRequest) -> Result<MountPoint> {
    let source = request.source.as_str();
    if source.is_empty() {
        return Err(Error::invalid("field Source must not be empty"));
    }
    if !source.starts_with('/') {
        return Err(Error::invalid(format!(
            "invalid mount path: '{source}' mount path must be absolute"
        )));
    }
    if !request.create_mountpoint && std::fs::metadata(source).is_err() {
        return Err(Error::invalid(format!("bind source path does not exist: {source}")));
    }
    let mut point = bind_point(source);
    if !request.propagation.is_empty() {
        if !PROPAGATIONS.contains(&request.propagation.as_str()) {
            return Err(Error::invalid(format!(
                "invalid propagation mode: {}",
                request.propagation
            )));
        }
        point.propagation.clone_from(&request.propagation);
    }
    if request.read_only_force_recursive {
        // What is mounted there later, by the host, would be writable.
        if request.non_recursive || !matches!(point.propagation.as_str(), "rprivate" | "private") {
            return Err(Error::invalid(
                "ReadOnlyForceRecursive needs a recursive mount with propagation rprivate",
            ));
        }
        if !request.read_only || request.read_only_non_recursive {
            return Err(Error::invalid(
                "ReadOnlyForceRecursive needs ReadOnly, and no ReadOnlyNonRecursive",
            ));
        }
    }
    point.non_recursive = request.non_recursive;
    point.create_source = request.create_mountpoint;
    Ok(point)
}

fn volume(request: &MountRequest) -> Result<(MountPoint, Option<Wanted>)> {
    let name = request.source.as_str();
    if name.is_empty() {
        if !request.subpath.is_empty() {
            return Err(Error::invalid("must not set Subpath when using anonymous volumes"));
        }
        if request.read_only {
            return Err(Error::invalid("must not set ReadOnly mode when using anonymous volumes"));
        }
    }
    let inside = |c| matches!(c, Component::Normal(_) | Component::CurDir);
    if !Path::new(&request.subpath).components().all(inside) {
        return Err(Error::invalid("subpath must be a relative path within the volume"));
    }
    let point = MountPoint {
        mode: "z".to_owned(),
        copy_up: !request.no_copy && request.subpath.is_empty(),
        subpath: request.subpath.clone(),
        ..volume_point(name)
    };
    let wanted = (!name.is_empty()).then(|| Wanted {
        name: name.to_owned(),
        anonymous: false,
        driver: request.driver.clone(),
        options: request.driver_options.clone(),
        labels: request.labels.clone(),
    });
    Ok((point, wanted))
}

fn memory(request: &MountRequest) -> Result<MountPoint> {
    if !request.source.is_empty() {
        return Err(Error::invalid("field Source must not be specified"));
    }
    if request.tmpfs_size < 0 {
        return Err(Error::invalid("invalid tmpfs size"));
    }
    let mut options = Vec::new();
    if request.tmpfs_size > 0 {
        options.push(format!("size={}", request.tmpfs_size));
    }
    if request.tmpfs_mode != 0 {
        options.push(format!("mode={:o}", request.tmpfs_mode & 0o7777));
    }
    Ok(MountPoint { options, ..tmpfs::point() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: MountRequest, wanted: &str) {
        let got = match parse(&request) {
            Ok((point, volume)) => format!(
                "{:?} {} {} {}{}",
                point.kind,
                point.destination,
                if point.rw { "rw" } else { "ro" },
                point.options.join(","),
                volume.map(|v| format!("{} {:?}", v.name, v.options)).unwrap_or_default()
            ),
            Err(e) => e.to_string(),
        };
        assert_eq!(got, wanted, "{request:?}");
    }

    /// The refusals were recorded from dockerd 26.1.
    #[test]
    fn requests() {
        let of = |kind: &str, source: &str| MountRequest {
            kind: kind.to_owned(),
            source: source.to_owned(),
            target: "/x".to_owned(),
            ..MountRequest::default()
        };
        let invalid =
            |kind: &str, why: &str| format!("invalid mount config for type \"{kind}\": {why}");
        check(of("foo", ""), &invalid("foo", "mount type unknown"));
        check(of("bind", ""), &invalid("bind", "field Source must not be empty"));
        check(
            of("bind", "rel"),
            &invalid("bind", "invalid mount path: 'rel' mount path must be absolute"),
        );
        check(
            of("bind", "/no/such/path"),
            &invalid("bind", "bind source path does not exist: /no/such/path"),
        );
        check(
            MountRequest { propagation: "foo".to_owned(), ..of("bind", "/") },
            &invalid("bind", "invalid propagation mode: foo"),
        );
        check(
            MountRequest { target: "/".to_owned(), ..of("bind", "/") },
            &invalid("bind", "invalid specification: destination can't be '/'"),
        );
        check(
            MountRequest { target: "x".to_owned(), ..of("volume", "vv") },
            &invalid("volume", "invalid mount path: 'x' mount path must be absolute"),
        );
        check(of("tmpfs", "a"), &invalid("tmpfs", "field Source must not be specified"));
        for subpath in ["../x", "/x", "a/../../b"] {
            check(
                MountRequest { subpath: subpath.to_owned(), ..of("volume", "vv") },
                &invalid("volume", "subpath must be a relative path within the volume"),
            );
        }
        check(
            MountRequest { subpath: "a".to_owned(), ..of("volume", "") },
            &invalid("volume", "must not set Subpath when using anonymous volumes"),
        );
        check(
            MountRequest { read_only: true, ..of("volume", "") },
            &invalid("volume", "must not set ReadOnly mode when using anonymous volumes"),
        );
        check(
            MountRequest { tmpfs_size: 4096, tmpfs_mode: 0o1770, ..of("tmpfs", "") },
            "Tmpfs /x rw size=4096,mode=1770",
        );
        check(MountRequest { read_only: true, ..of("volume", "vv") }, "Volume /x ro vv {}");
        check(of("bind", "/"), "Bind /x rw ");
    }
}
