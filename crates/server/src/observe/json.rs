//! A line of the log as a JSON object. There is one for each request, so it is written straight into the line, without the
//! map that a general writer of JSON builds first.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, time};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// `timestamp`, `level`, the event's own fields (its text is `message`), and `target`, in that order. Spans are not shown:
/// there are none.
pub(super) struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let about = event.metadata();
        out.write_str("{\"timestamp\":\"")?;
        time().format_time(&mut out)?;
        out.write_str("\",\"level\":\"")?;
        out.write_str(about.level().as_str())?;
        out.write_str("\"")?;
        let mut fields = Fields { out: out.by_ref(), done: Ok(()) };
        event.record(&mut fields);
        fields.done?;
        out.write_str(",\"target\":\"")?;
        out.write_str(about.target())?;
        out.write_str("\"}\n")
    }
}

/// Writes each field behind a comma.
struct Fields<'w> {
    out: Writer<'w>,
    done: fmt::Result,
}

impl Fields<'_> {
    fn write(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.done.is_ok() {
            self.done = self.write_name(field).and_then(|()| value(&mut self.out));
        }
    }

    fn write_name(&mut self, field: &Field) -> fmt::Result {
        // Names are written in this program's source: they need no escapes.
        self.out.write_str(",\"")?;
        self.out.write_str(field.name())?;
        self.out.write_str("\":")
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field, |out| {
            out.write_str("\"")?;
            Escaped(out).write_str(value)?;
            out.write_str("\"")
        });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, |out| write!(out, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write(field, |out| write!(out, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, |out| write!(out, "{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.write(field, |out| {
            out.write_str("\"")?;
            write!(Escaped(out), "{value:?}")?;
            out.write_str("\"")
        });
    }
}

/// What is written here comes out as the inside of a JSON string, however many parts it comes in.
struct Escaped<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
            return self.0.write_str(text);
        }
        let quoted = serde_json::Value::from(text).to_string();
        self.0.write_str(&quoted[1..quoted.len() - 1])
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Out(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_kind_of_field_is_json_whatever_is_in_it() {
        let out = Out::default();
        let lines = out.clone();
        let log = tracing_subscriber::fmt().event_format(Lines).with_writer(move || lines.clone()).finish();
        let texts = ["plain", "", "\"quoted\" \\", "two\nlines\u{1b}[31m\u{0}", "Ünïcode \u{2028}"];
        tracing::subscriber::with_default(log, || {
            for text in texts {
                let error = io::Error::other(text);
                tracing::warn!(text, %error, debug = ?text, number = 7_u64, less = -7, flag = true, "said {text}");
            }
        });
        let said = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        assert_eq!(said.lines().count(), texts.len(), "{said}");
        for (line, text) in said.lines().zip(texts) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(
                (&line["level"], &line["text"], &line["error"]),
                (&"WARN".into(), &text.into(), &text.into())
            );
            assert_eq!(line["message"], format!("said {text}"));
            assert_eq!(line["debug"], format!("{text:?}"));
            assert_eq!(
                (&line["number"], &line["less"], &line["flag"]),
                (&7.into(), &(-7).into(), &true.into())
            );
            assert!(line["target"].as_str().unwrap().ends_with("json::tests"), "{line}");
        }
    }
}
