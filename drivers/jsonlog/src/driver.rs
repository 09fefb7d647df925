//! The driver `json-file`: its options, with Docker's words for wrong ones.

use logging::driver::{DEFAULT_FILES, DEFAULT_SIZE, File, Format};
use logging::options::{check_names, flag, int_of};
use logging::{Destination, Driver, Info, Options};
use stdx::{Error, Result};
use types::ByteSize;

/// `--log-driver json-file`.
#[derive(Debug)]
pub struct JsonFile;

impl Driver for JsonFile {
    fn name(&self) -> &'static str {
        "json-file"
    }

    fn is_file(&self) -> bool {
        true
    }

    fn check(&self, options: &Options) -> Result<()> {
        check_names(options, self.name(), &["max-size", "max-file", "compress"])
    }

    fn open(&self, info: &Info) -> Result<Destination> {
        let options = &info.options;
        let max_size = max_size(options)?;
        let max_files = max_files(options)?;
        let compress = flag(options, "compress")?.unwrap_or(false);
        if compress && (max_files < 2 || max_size.is_none()) {
            return Err(Error::invalid(
                "compress cannot be true when max-file is less than 2 or max-size is not set",
            ));
        }
        let mut attributes = info.attributes(str::to_owned)?;
        if info.option("tag").is_some() {
            attributes.insert("tag".to_owned(), info.tag("")?);
        }
        Ok(Destination::File(File {
            format: Format::Json,
            max_size,
            max_files,
            compress,
            attributes: attributes.into_iter().collect(),
        }))
    }
}

/// Bounded unless `-1` is said.
fn max_size(options: &Options) -> Result<Option<u64>> {
    match options.get("max-size").map(String::as_str) {
        None => Ok(Some(DEFAULT_SIZE)),
        Some("-1") => Ok(None),
        Some(text) => match ByteSize::from_decimal(text) {
            Ok(ByteSize(0)) => Err(Error::invalid("max-size must be a positive number")),
            Ok(size) => Ok(Some(size.0)),
            Err(e) => Err(Error::invalid(e.to_string())),
        },
    }
}

fn max_files(options: &Options) -> Result<u32> {
    let Some(text) = options.get("max-file") else { return Ok(DEFAULT_FILES) };
    let files = int_of(text)?;
    if files < 1 {
        return Err(Error::invalid("max-file cannot be less than 1"));
    }
    Ok(u32::try_from(files).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(pairs: &[(&str, &str)]) -> String {
        let options: Options =
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let info = Info { options, name: "web".to_owned(), ..Info::default() };
        match JsonFile.check(&info.options).and_then(|()| JsonFile.open(&info)) {
            Ok(Destination::File(f)) => {
                format!("{:?} {} {} {:?}", f.max_size, f.max_files, f.compress, f.attributes)
            }
            Ok(other) => format!("{other:?}"),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn options_are_dockers_and_the_bound_is_ours() {
        let check = |pairs: &[(&str, &str)], expected: &str| assert_eq!(opened(pairs), expected);
        check(&[], "Some(20000000) 5 false []");
        check(
            &[("max-size", "10m"), ("max-file", "3"), ("compress", "true")],
            "Some(10000000) 3 true []",
        );
        check(&[("max-size", "-1")], "None 5 false []");
        check(&[("tag", "{{.Name}}")], "Some(20000000) 5 false [(\"tag\", \"web\")]");
        check(&[("x", "1")], "unknown log opt 'x' for json-file log driver");
        check(&[("max-size", "zz")], "invalid size: 'zz'");
        check(&[("max-size", "0")], "max-size must be a positive number");
        check(&[("max-file", "0")], "max-file cannot be less than 1");
        check(&[("max-file", "a")], "strconv.Atoi: parsing \"a\": invalid syntax");
        check(&[("compress", "zz")], "strconv.ParseBool: parsing \"zz\": invalid syntax");
        let together =
            "compress cannot be true when max-file is less than 2 or max-size is not set";
        check(&[("compress", "true"), ("max-file", "1")], together);
        check(&[("compress", "true"), ("max-size", "-1")], together);
    }
}
