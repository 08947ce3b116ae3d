//! What is printed: JSON as it comes, or medians over the rounds in the end.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;

use crate::Result;

/// Prints one object on a line of its own.
pub fn json(row: &impl Serialize) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(row)?)?)
}

/// To a tenth, which is less than the noise.
pub fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// To a thousandth.
pub fn thousandth(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The figures of rows that are measured once a round.
#[derive(Default)]
pub struct Table {
    order: Vec<String>,
    rows: BTreeMap<String, Vec<Round>>,
}

struct Round {
    steady: bool,
    figures: Vec<f64>,
}

impl Table {
    /// Adds what one round gave for the row of that label.
    pub fn add(&mut self, label: String, steady: bool, figures: &[f64]) {
        if !self.rows.contains_key(&label) {
            self.order.push(label.clone());
        }
        let figures = figures.to_vec();
        self.rows.entry(label).or_default().push(Round { steady, figures });
    }

    /// Prints the median of each figure, over the steady rounds; over all, marked with a `?`, if
    /// there is none. The last column tells how many were steady.
    pub fn print(&self, label: &str, columns: &[(&str, usize)]) {
        print!("{label:<26}");
        for (name, _) in columns {
            print!("{name:>12}");
        }
        println!("{:>14}", "steady rounds");
        for label in &self.order {
            let rounds = &self.rows[label];
            let steady = rounds.iter().filter(|round| round.steady).count();
            let counted: Vec<&Round> =
                rounds.iter().filter(|round| round.steady || steady == 0).collect();
            print!("{label:<26}");
            for (column, (_, decimals)) in columns.iter().enumerate() {
                let figures = counted.iter().map(|round| round.figures[column]).collect();
                print!("{:>12.decimals$}", median(figures));
            }
            let mark = if steady == 0 { "?" } else { "" };
            println!("{:>14}", format!("{steady}/{}{mark}", rounds.len()));
        }
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() % 2 {
        0 => (figures[middle - 1] + figures[middle]) / 2.0,
        _ => figures[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_two() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
