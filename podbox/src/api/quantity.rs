//! Quantities, `100m`, `1Gi`, `1e3`: exact, in integers. More than nine decimals round up, and what
//! exceeds 2^63-1 is cut to it, as Kubernetes does both.

use std::fmt;

const NANO: i128 = 1_000_000_000;
const MOST: i128 = i64::MAX as i128 * NANO;

/// An amount of a resource.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// How a quantity was written, which is how it is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Decimal,
    Binary,
    Exponent,
}

/// What is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct QuantityError;

impl Quantity {
    /// Zero.
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::Decimal };

    /// So many billionths.
    pub fn nanos(nanos: u64) -> Quantity {
        Quantity { nanos: nanos.into(), format: Format::Decimal }
    }

    /// So many bytes.
    pub fn bytes(bytes: u64) -> Quantity {
        Quantity { nanos: (i128::from(bytes) * NANO).min(MOST), format: Format::Binary }
    }

    /// Reads a quantity.
    pub fn parse(text: &str) -> Result<Quantity, QuantityError> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(QuantityError);
        }
        let (scale, format) = scale(suffix).ok_or(QuantityError)?;
        let nanos = scale.nanos(whole, fraction);
        Ok(Quantity { nanos: if negative { -nanos } else { nanos }, format })
    }

    /// In whole units, rounded away from zero.
    pub fn value(self) -> i64 {
        self.in_units_of(NANO)
    }

    /// In thousandths, rounded away from zero.
    pub fn milli_value(self) -> i64 {
        self.in_units_of(NANO / 1000)
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it has no fraction.
    pub fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }

    /// Rounded up to whole thousandths, which is as fine as resources are counted.
    pub fn at_least_milli(self) -> Quantity {
        let unit = NANO / 1000;
        let nanos = (self.nanos.abs() + unit - 1) / unit * unit * self.nanos.signum();
        Quantity { nanos, ..self }
    }

    /// This and another one, written as this one is.
    pub fn plus(self, other: Quantity) -> Quantity {
        let format = if self.is_zero() { other.format } else { self.format };
        Quantity { nanos: self.nanos.saturating_add(other.nanos).clamp(-MOST, MOST), format }
    }

    /// This without another one, written as this one is.
    pub fn minus(self, other: Quantity) -> Quantity {
        Quantity { nanos: self.nanos.saturating_sub(other.nanos).clamp(-MOST, MOST), ..self }
    }

    fn in_units_of(self, unit: i128) -> i64 {
        let units = (self.nanos.abs() + unit - 1) / unit * self.nanos.signum();
        units.clamp(i64::MIN as i128, i64::MAX as i128) as i64
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> std::cmp::Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// What a suffix multiplies by.
#[derive(Clone, Copy, Debug)]
enum Scale {
    Ten(i32),
    Two(u32),
}

fn scale(suffix: &str) -> Option<(Scale, Format)> {
    let si = |power| Some((Scale::Ten(power), Format::Decimal));
    let binary = |power| Some((Scale::Two(power), Format::Binary));
    match suffix {
        "n" => si(-9),
        "u" => si(-6),
        "m" => si(-3),
        "" => si(0),
        "k" => si(3),
        "M" => si(6),
        "G" => si(9),
        "T" => si(12),
        "P" => si(15),
        "E" => si(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let power = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            Some((Scale::Ten(power), Format::Exponent))
        }
    }
}

impl Scale {
    /// `whole.fraction` times this, in billionths, rounded up, at most 2^63-1 units.
    fn nanos(self, whole: &str, fraction: &str) -> i128 {
        let (factor, shift) = match self {
            Scale::Ten(power) => (1, i64::from(power)),
            Scale::Two(power) => (1i128 << power, 0),
        };
        // The digit at place p counts digit * factor * 10^(p + shift + 9) billionths.
        let digits = whole.bytes().chain(fraction.bytes()).map(|digit| i128::from(digit - b'0'));
        let mut place = whole.len() as i64 - 1 + shift + 9;
        let mut nanos = 0i128;
        // Of what is below a billionth: 18 more places exactly (binary factors need them), then whether
        // anything came at all.
        let mut below = 0i128;
        let mut inexact = false;
        const BELOW: i64 = 18;
        const LOWEST: i64 = -BELOW;
        for digit in digits {
            match place {
                _ if digit == 0 => {}
                0.. => {
                    let power = u32::try_from(place).ok().and_then(|place| 10i128.checked_pow(place));
                    let term = power.and_then(|power| power.checked_mul(digit * factor));
                    nanos = term.map_or(MOST, |term| nanos.saturating_add(term)).min(MOST);
                }
                LOWEST..=-1 => {
                    let power = 10i128.pow((BELOW + place) as u32);
                    let term = power.checked_mul(digit * factor);
                    below = term.and_then(|term| below.checked_add(term)).unwrap_or(i128::MAX);
                }
                _ => inexact = true,
            }
            place -= 1;
        }
        let unit = 10i128.pow(BELOW as u32);
        let carried = below / unit + i128::from(below % unit != 0 || inexact);
        nanos.saturating_add(carried).min(MOST)
    }
}

impl fmt::Display for Quantity {
    /// The canonical form: the largest suffix that leaves a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.format == Format::Binary && self.nanos.abs() >= 1024 * NANO {
            return binary(self.value(), f);
        }
        let (mut mantissa, mut power) = (self.nanos, -9);
        while power < 18 && mantissa != 0 && mantissa % 1000 == 0 {
            (mantissa, power) = (mantissa / 1000, power + 3);
        }
        if mantissa == 0 {
            return f.write_str("0");
        }
        if self.format == Format::Exponent {
            return match power {
                0 => write!(f, "{mantissa}"),
                _ => write!(f, "{mantissa}e{power}"),
            };
        }
        const SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        write!(f, "{mantissa}{}", SUFFIXES[((power + 9) / 3) as usize])
    }
}

fn binary(mut value: i64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].into_iter();
    let mut suffix = suffixes.next().unwrap_or_default();
    while value % 1024 == 0 {
        let Some(next) = suffixes.next() else { break };
        (value, suffix) = (value / 1024, next);
    }
    write!(f, "{value}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, milli: i64, value: i64, canonical: &str) {
        let quantity = Quantity::parse(text).unwrap_or_else(|_| panic!("{text} is a quantity"));
        assert_eq!(
            (quantity.milli_value(), quantity.value(), quantity.to_string().as_str()),
            (milli, value, canonical),
            "{text}"
        );
    }

    #[test]
    fn quantities_are_read_exactly_and_written_canonically() {
        check("0", 0, 0, "0");
        check("100m", 100, 1, "100m");
        check("1000m", 1000, 1, "1");
        check("1.5", 1500, 2, "1500m");
        check(".5", 500, 1, "500m");
        check("5.", 5000, 5, "5");
        check("-1.5", -1500, -2, "-1500m");
        check("+2", 2000, 2, "2");
        check("1e3", 1_000_000, 1000, "1e3");
        check("1E3", 1_000_000, 1000, "1e3");
        check("12e-1", 1200, 2, "1200e-3");
        check("1E", i64::MAX, 1_000_000_000_000_000_000, "1E");
        check("1Gi", 1_073_741_824_000, 1_073_741_824, "1Gi");
        check("1.5Gi", 1_610_612_736_000, 1_610_612_736, "1536Mi");
        check("0.5Ki", 512_000, 512, "512");
        check("1025", 1_025_000, 1025, "1025");
        check("1000Ki", 1_024_000_000, 1_024_000, "1000Ki");
        check("128974848", 128_974_848_000, 128_974_848, "128974848");
        check("129M", 129_000_000_000, 129_000_000, "129M");
        check("0.1m", 1, 1, "100u");
        check("0.0000000001", 1, 1, "1n");
        check("9999999999999999999999", i64::MAX, i64::MAX, "9223372036854775807");
        check("1e999999999", i64::MAX, i64::MAX, "9223372036854775807");
        check("1e-999999999", 1, 1, "1e-9");
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "x", "1x", "1.2.3", ".", "-", "--1", "1 Gi", "1gi", "1e", "1mi", "1KI", "e3", "1e3k"]
        {
            assert_eq!(Quantity::parse(text), Err(QuantityError), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_canonical_form_is_the_same_amount(text in "[+-]?[0-9]{1,9}(\\.[0-9]{0,6})?(m|k|M|G|Ki|Mi|Gi|e3|e-2)?") {
            let quantity = Quantity::parse(&text).unwrap();
            let again = Quantity::parse(&quantity.to_string()).unwrap();
            // Written in a binary suffix, a fraction of a byte rounds up.
            proptest::prop_assert_eq!(quantity.value(), again.value());
        }
    }
}
