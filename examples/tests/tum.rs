//! What is a trajectory and what is not, and what is said about it.

#[path = "../tum.rs"]
mod tum;

const RECORDED: &str = include_str!("../data/freiburg1_xyz-groundtruth.txt");

#[test]
fn the_recorded_trajectory_is_read_in_full() {
    let entries = tum::parse(RECORDED).unwrap();
    assert_eq!(entries.len(), 3000);
    let first = &entries[0];
    assert_eq!(first.stamp, 1305031098.6659);
    let position = first.pose.position;
    assert_eq!((position.x, position.y, position.z), (1.3563, 0.6305, 1.6380));
    let turned = first.pose.orientation;
    assert_eq!((turned.x, turned.y, turned.z, turned.w), (0.6132, 0.5962, -0.3311, -0.3986));
}

#[test]
fn comments_empty_lines_and_other_line_ends_are_passed_over() {
    let text = "# a comment\r\n\r\n  1 0 0 0 0 0 0 1\r\n # another\n\t1.5e0\t-1 2 3 0 0 0 1";
    let entries = tum::parse(text).unwrap();
    assert_eq!(entries.iter().map(|entry| entry.stamp).collect::<Vec<_>>(), [1.0, 1.5]);
    assert_eq!(entries[1].pose.position.x, -1.0);
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let cases = [
        ("", "there is no pose in it"),
        ("# only\n# comments\n", "there is no pose in it"),
        (
            "# first\n1 0 0 0 0 0 0\n",
            "line 2: 8 columns expected (timestamp tx ty tz qx qy qz qw), found 7",
        ),
        (
            "1 0 0 0 0 0 0 1 1\n",
            "line 1: 8 columns expected (timestamp tx ty tz qx qy qz qw), found 9",
        ),
        ("1 0 0 0 0 0 0 1\n2 0 0 3,5 0 0 0 1\n", "line 2: tz is \"3,5\", not a number"),
        ("1 0 NaN 0 0 0 0 1\n", "line 1: ty is NaN, not a finite number"),
        ("inf 0 0 0 0 0 0 1\n", "line 1: timestamp is inf, not a finite number"),
        ("1 0 0 0 0 0 0 1e999\n", "line 1: qw is 1e999, not a finite number"),
        (
            "2.5 0 0 0 0 0 0 1\n\n2.5 0 0 0 0 0 0 1\n",
            "line 3: timestamp 2.5 does not come after 2.5, the one before it",
        ),
        (
            "2 0 0 0 0 0 0 1\n1 0 0 0 0 0 0 1\n",
            "line 2: timestamp 1 does not come after 2, the one before it",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(tum::parse(text).unwrap_err().to_string(), expected, "in {text:?}");
    }
}
