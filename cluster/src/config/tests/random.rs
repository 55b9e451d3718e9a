//! Whatever is in a file, it is judged: no input panics, and what is refused is refused with a line that exists.

use super::*;
use proptest::prelude::*;

/// The contract's files with a part replaced by something else.
fn mangled(text: &'static str) -> impl Strategy<Value = String> {
    let other = prop_oneof![
        Just(String::new()),
        "[a-z_]{1,12} = [0-9]{1,24}\n",
        r#"["\[\]{}=.,\n#'\\-]{1,4}"#,
        "\"[0-9]{1,20}(ms|s|m|h|y|MiB/s)?\"",
        "\\[\\[?(node|check|times|replicate|farm|http)\\]?\\]\n",
        ".{1,8}",
    ];
    (0..text.len(), 0..40usize, other).prop_map(move |(start, length, other)| {
        let bound = |mut at: usize| {
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let (start, end) = (bound(start), bound((start + length).min(text.len())));
        format!("{}{other}{}", &text[..start], &text[end..])
    })
}

fn judged<T>(outcome: Result<T, Vec<Problem>>, text: &str) {
    let Err(problems) = outcome else { return };
    assert!(!problems.is_empty(), "refused without a reason");
    for problem in problems {
        assert!(problem.line <= text.split('\n').count(), "{problem}");
        assert!(!problem.to_string().contains('\n'), "{problem:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cluster_file_is_judged(text in prop_oneof![mangled(CLUSTER), "(?s).{0,200}"]) {
        let folder = Folder::new();
        folder.write("cluster.toml", &text);
        judged(load_cluster(folder.path()), &text);
    }

    #[test]
    fn any_module_file_is_judged(text in prop_oneof![mangled(MODULE), "(?s).{0,200}"]) {
        let folder = Folder::new();
        folder.module("m", &text);
        judged(load_module(folder.path(), "m", &folder.cluster()), &text);
    }

    #[test]
    fn any_words_are_judged(text in "(?s).{0,200}") {
        let _ = (words::duration(&text), words::rate(&text), words::is_name(&text), words::nearest(&text, ["address", "name"]));
    }
}
