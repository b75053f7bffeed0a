//! The `[[pair]]` tables of a box's configuration.

use common::config::Checks;
use middlebox::config::Config;
use std::path::Path;

const BOX: &str = "[node]\nname = \"a\"\n[ports.inside]\ndevice = \"net_tap0\"\n[ports.outside]\ndevice = \"net_tap1\"\n\
                   [[policy]]\nname = \"all\"\ninside = [\"2001:db8::/32\"]\nmode = \"clear\"\n";

fn parse(more: &str) -> Result<Config, String> {
    let text = format!("{BOX}{more}");
    Config::parse(&text, Path::new("etc/box.toml"), Checks::TextOnly).map_err(|errors| errors.to_string())
}

#[test]
fn pairs_are_read_in_their_order() {
    let config = parse(
        "[[pair]]\nname = \"one\"\ninside = [\"2001:db8:1::/48\", \"2001:db8::7\"]\n\
         [[pair]]\nname = \"two\"\noutside = [\"2001:db8:2::/48\"]\n",
    )
    .expect("accepted");
    let read: Vec<_> = config.pairs.iter().map(|p| (p.name.as_str(), p.inside.len(), p.outside.len())).collect();
    assert_eq!(read, [("one", 2, 0), ("two", 0, 1)]);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn what_is_wrong_with_a_pair_is_said_with_its_place() {
    let pair = |lines: &str| format!("[[pair]]\nname = \"p\"\n{lines}\n");
    for (more, said) in [
        (pair(""), "pair 'p' has neither 'inside' nor 'outside'"),
        (pair("inside = [\"2001:db8::/200\"]"), "13:11:"),
        (pair("insde = [\"2001:db8::/32\"]"), "did you mean 'inside'"),
        ("[[pair]]\ninside = [\"::/0\"]\n".into(), "name = \"…\""),
        (pair("inside = [\"::/1\"]") + &pair("inside = [\"8000::/1\"]"), "two pairs are named 'p'"),
        ("[[pair]]\nname = \"\"\ninside = [\"::/0\"]\n".into(), "12:8:"),
    ] {
        let errors = parse(&more).err().unwrap_or_else(|| panic!("{more} is accepted"));
        assert!(errors.contains(said), "{more}\n{errors}");
    }
    let many: String =
        (0..257).map(|n| format!("[[pair]]\nname = \"{n}\"\ninside = [\"2001:db8:{n:x}::/48\"]\n")).collect();
    assert!(parse(&many).expect_err("too many").contains("more than 256 pairs"));
}

/// Each policy and pair that share flows are counted apart, which takes memory.
#[test]
fn policies_and_pairs_together_have_a_bound() {
    let policies: String =
        (0..40).map(|n| format!("[[policy]]\nname = \"{n}\"\nprotocol = {}\nmode = \"clear\"\n", 100 + n)).collect();
    let pairs = |count: u32| -> String {
        (0..count).map(|n| format!("[[pair]]\nname = \"{n}\"\ninside = [\"2001:db8:{n:x}::/48\"]\n")).collect()
    };
    assert!(parse(&(policies.clone() + &pairs(98))).is_ok());
    let errors = parse(&(policies + &pairs(120))).expect_err("refused");
    assert_eq!(errors.matches("more than 4096 policies and pairs").count(), 1, "{errors}");
}

#[test]
fn a_pair_that_counts_nothing_warns() {
    let warned = |more: &str| {
        let config = parse(more).expect("accepted");
        config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let elsewhere = warned("[[pair]]\nname = \"p\"\ninside = [\"fd00::/8\"]\n");
    assert!(elsewhere.contains("no policy names flows of it"), "{elsewhere}");
    let hidden = "[[pair]]\nname = \"wide\"\ninside = [\"2001:db8::/40\", \"2001:db8:100::/40\"]\n\
                  [[pair]]\nname = \"narrow\"\ninside = [\"2001:db8:1::/48\"]\noutside = [\"::/1\"]\n";
    assert!(warned(hidden).contains("pair 'narrow' counts nothing: 'wide' before it"), "{}", warned(hidden));
    let apart = "[[pair]]\nname = \"narrow\"\ninside = [\"2001:db8:1::/48\"]\noutside = [\"::/1\"]\n\
                 [[pair]]\nname = \"wide\"\ninside = [\"2001:db8::/40\"]\n";
    assert_eq!(warned(apart), "");
}
