//! The driver `local`: its options, with Docker's words for wrong ones.

use logging::driver::local_file;
use logging::{Destination, Driver, Info, Options};
use stdx::{Error, Result};

/// `--log-driver local`.
#[derive(Debug)]
pub struct Local;

impl Driver for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn is_file(&self) -> bool {
        true
    }

    fn check(&self, options: &Options) -> Result<()> {
        let known = |name: &str| matches!(name, "max-size" | "max-file" | "compress");
        match options.keys().find(|name| !known(name)) {
            Some(name) => {
                Err(Error::invalid(format!("unknown log opt '{name}' for log driver local")))
            }
            None => Ok(()),
        }
    }

    fn open(&self, info: &Info) -> Result<Destination> {
        Ok(Destination::File(local_file(&info.options, "")?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_dockers() {
        let check = |pairs: &[(&str, &str)], expected: &str| {
            let options: Options =
                pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let info = Info { options, ..Info::default() };
            let got = match Local.check(&info.options).and_then(|()| Local.open(&info)) {
                Ok(Destination::File(f)) => {
                    format!("{:?} {} {}", f.max_size, f.max_files, f.compress)
                }
                Ok(other) => format!("{other:?}"),
                Err(e) => e.to_string(),
            };
            assert_eq!(got, expected, "{pairs:?}");
        };
        check(&[], "Some(20000000) 5 true");
        check(&[("max-size", "1m"), ("max-file", "2")], "Some(1048576) 2 true");
        check(&[("max-file", "1"), ("compress", "false")], "Some(20000000) 1 false");
        check(&[("tag", "x")], "unknown log opt 'tag' for log driver local");
        check(&[("max-size", "zz")], "invalid value for max-size: zz: invalid size: 'zz'");
        check(&[("max-size", "-1")], "invalid value for max-size: -1: invalid size: '-1'");
        check(&[("max-file", "1")], "compression cannot be enabled when max file count is 1");
        check(
            &[("max-file", "a")],
            "invalid value for max-file: a: strconv.Atoi: parsing \"a\": invalid syntax",
        );
        check(
            &[("compress", "zz")],
            "error reading compress log option: strconv.ParseBool: parsing \"zz\": invalid syntax",
        );
    }
}
