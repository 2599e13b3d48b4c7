//! HTTP as far as it is needed: one `GET` of one document (RFC 9110, RFC 9112).

use core::fmt::Write;

/// Longest request head, in bytes: what a browser with its cookies sends has room.
pub(super) const HEAD_MAX: usize = 8 * 1024;
/// Header fields that a request may have.
const FIELDS_MAX: usize = 64;
/// The document.
const PATH: &str = "/metrics";

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// The figures in this format; without them, only what the answer's head would be, if not `body`.
    Metrics { format: Format, body: bool },
    /// Something that there is not.
    Refused(Status),
}

/// Forms of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus's own, 0.0.4.
    Classic,
}

/// Answers besides 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    BadRequest,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    HeadTooLarge,
    TooManyClients,
}

/// Reads a request; `None` if it has not all arrived.
pub(super) fn parse(bytes: &[u8]) -> Option<Request> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => Some(judge(&request)),
        Ok(httparse::Status::Partial) if bytes.len() >= HEAD_MAX => {
            Some(Request::Refused(Status::HeadTooLarge))
        }
        Ok(httparse::Status::Partial) => None,
        Err(httparse::Error::TooManyHeaders) => Some(Request::Refused(Status::HeadTooLarge)),
        Err(_) => Some(Request::Refused(Status::BadRequest)),
    }
}

fn judge(request: &httparse::Request<'_, '_>) -> Request {
    let path = request.path.unwrap_or_default();
    if path.split('?').next() != Some(PATH) {
        return Request::Refused(Status::NotFound);
    }
    let body = match request.method {
        Some("GET") => true,
        Some("HEAD") => false,
        _ => return Request::Refused(Status::MethodNotAllowed),
    };
    let fields = |wanted: &'static str| {
        let named = request.headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(wanted));
        named.map(|field| String::from_utf8_lossy(field.value).to_ascii_lowercase())
    };
    let has_content = fields("content-length").any(|length| length.trim() != "0");
    if has_content || fields("transfer-encoding").next().is_some() {
        return Request::Refused(Status::BadRequest);
    }
    let accept = fields("accept").collect::<Vec<_>>().join(",");
    let classic = accept.contains("text/plain") && !accept.contains("application/openmetrics-text");
    let format = if classic { Format::Classic } else { Format::OpenMetrics };
    Request::Metrics { format, body }
}

impl Format {
    const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl Status {
    /// Number and reason phrase, and what to do about it.
    const fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::BadRequest => ("400 Bad Request", "this is no HTTP request for a document"),
            Self::Forbidden => ("403 Forbidden", "this socket is not for this user"),
            Self::NotFound => ("404 Not Found", "there is only /metrics"),
            Self::MethodNotAllowed => ("405 Method Not Allowed", "there are only GET and HEAD"),
            Self::HeadTooLarge => ("431 Request Header Fields Too Large", "the request is too long"),
            Self::TooManyClients => ("503 Service Unavailable", "too many clients at once"),
        }
    }
}

/// The answer with these figures.
pub(super) fn answer(text: &str, format: Format, body: bool) -> Vec<u8> {
    respond("200 OK", format.content_type(), text, body)
}

/// The answer that says what is wrong.
pub(super) fn refusal(status: Status) -> Vec<u8> {
    let (line, text) = status.text();
    respond(line, "text/plain; charset=utf-8", &format!("{text}\n"), true)
}

/// After each answer the connection ends, so nobody needs to find the next request.
fn respond(status: &str, content_type: &str, text: &str, body: bool) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n");
    let length = text.len();
    // A string takes all that is written.
    let _ = write!(
        head,
        "Content-Length: {length}\r\nAllow: GET, HEAD\r\nVary: Accept\r\nConnection: close\r\n\r\n"
    );
    if body {
        head.push_str(text);
    }
    head.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
                              q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

    #[rstest]
    #[case("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", Format::OpenMetrics, true)]
    #[case("GET /metrics?a=b HTTP/1.0\r\n\r\n", Format::OpenMetrics, true)]
    #[case("HEAD /metrics HTTP/1.1\r\nAccept: */*\r\n\r\n", Format::OpenMetrics, false)]
    #[case("GET /metrics HTTP/1.1\r\nACCEPT: text/plain\r\nContent-Length: 0\r\n\r\n", Format::Classic, true)]
    fn figures_are_asked_for(#[case] text: &str, #[case] format: Format, #[case] body: bool) {
        assert_eq!(parse(text.as_bytes()), Some(Request::Metrics { format, body }));
        for end in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..end]), None, "{:?}", &text[..end]);
        }
    }

    #[test]
    fn prometheus_gets_openmetrics() {
        let text = format!("GET /metrics HTTP/1.1\r\nAccept: {PROMETHEUS}\r\n\r\n");
        let expected = Request::Metrics { format: Format::OpenMetrics, body: true };
        assert_eq!(parse(text.as_bytes()), Some(expected));
    }

    #[rstest]
    #[case("GET / HTTP/1.1\r\n\r\n", Status::NotFound)]
    #[case("GET /metrics/x HTTP/1.1\r\n\r\n", Status::NotFound)]
    #[case("POST /metrics HTTP/1.1\r\n\r\n", Status::MethodNotAllowed)]
    #[case("GET /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", Status::BadRequest)]
    #[case("GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", Status::BadRequest)]
    #[case("GET /metrics HTTP/2.0\r\n\r\n", Status::BadRequest)]
    #[case("{\"verb\":\"show\",\"object\":\"peers\"}\n", Status::BadRequest)]
    #[case("\0\0\0", Status::BadRequest)]
    fn anything_else_is_refused(#[case] text: &str, #[case] status: Status) {
        assert_eq!(parse(text.as_bytes()), Some(Request::Refused(status)));
    }

    #[test]
    fn long_requests_are_refused() {
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "y".repeat(HEAD_MAX));
        assert_eq!(parse(long.as_bytes()), Some(Request::Refused(Status::HeadTooLarge)));
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(FIELDS_MAX + 1));
        assert_eq!(parse(many.as_bytes()), Some(Request::Refused(Status::HeadTooLarge)));
    }

    #[test]
    fn an_answer_says_how_long_it_is() {
        let text = String::from_utf8(answer("# EOF\n", Format::OpenMetrics, true)).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0;")
        );
        assert!(text.contains("\r\nContent-Length: 6\r\n") && text.ends_with("\r\n\r\n# EOF\n"), "{text}");
        let head = String::from_utf8(answer("# EOF\n", Format::OpenMetrics, false)).unwrap();
        assert!(head.contains("\r\nContent-Length: 6\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(refusal(Status::NotFound).ends_with(b"there is only /metrics\n"));
    }
}
