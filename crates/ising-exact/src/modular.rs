//! Arithmetic modulo 62-bit primes in Montgomery form, and primes that have wanted roots of unity.

/// Residues modulo an odd prime below 2⁶², kept as `a · 2⁶⁴ mod p` (P. L. Montgomery, 1985).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub prime: u64,
    /// −1/p mod 2⁶⁴.
    minus_inverse: u64,
    /// 2¹²⁸ mod p.
    square: u64,
}

impl Field {
    pub fn new(prime: u64) -> Self {
        // Newton's iteration doubles the number of correct bits of 1/p.
        let mut inverse = prime;
        for _ in 0..6 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(prime.wrapping_mul(inverse)));
        }
        let r = ((1u128 << 64) % u128::from(prime)) as u64;
        let square = (u128::from(r) * u128::from(r) % u128::from(prime)) as u64;
        Self { prime, minus_inverse: inverse.wrapping_neg(), square }
    }

    pub fn enter(&self, a: u64) -> u64 {
        self.mul(a % self.prime, self.square)
    }

    pub fn leave(&self, a: u64) -> u64 {
        self.mul(a, 1)
    }

    #[inline]
    pub fn mul(&self, a: u64, b: u64) -> u64 {
        let t = u128::from(a) * u128::from(b);
        let q = (t as u64).wrapping_mul(self.minus_inverse);
        let r = ((t + u128::from(q) * u128::from(self.prime)) >> 64) as u64;
        if r >= self.prime { r - self.prime } else { r }
    }

    #[inline]
    pub fn add(&self, a: u64, b: u64) -> u64 {
        let s = a + b;
        if s >= self.prime { s - self.prime } else { s }
    }

    #[inline]
    pub fn sub(&self, a: u64, b: u64) -> u64 {
        if a >= b { a - b } else { a + self.prime - b }
    }

    pub fn pow(&self, mut base: u64, mut exponent: u64) -> u64 {
        let mut result = self.enter(1);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = self.mul(result, base);
            }
            base = self.mul(base, base);
            exponent >>= 1;
        }
        result
    }

    pub fn inverse(&self, a: u64) -> u64 {
        self.pow(a, self.prime - 2)
    }

    /// An element of exact order `order`, which must divide p − 1.
    pub fn root_of_unity(&self, order: u64) -> u64 {
        let one = self.enter(1);
        let factors = prime_factors(order);
        let candidate = |g: u64| self.pow(self.enter(g), (self.prime - 1) / order);
        let exact = |w: &u64| factors.iter().all(|f| self.pow(*w, order / f) != one);
        (2..).map(candidate).find(exact).expect("a prime field has elements of every order that divides p − 1")
    }
}

fn prime_factors(mut n: u64) -> Vec<u64> {
    let mut factors = Vec::new();
    let mut f = 2;
    while n > 1 {
        if n.is_multiple_of(f) {
            factors.push(f);
            while n.is_multiple_of(f) {
                n /= f;
            }
        }
        f += 1;
    }
    factors
}

/// Primes p < 2⁶², p ≡ 1 modulo `modulus`, from the largest downwards.
pub(crate) fn primes(modulus: u64) -> impl Iterator<Item = u64> {
    let top = (1u64 << 62) / modulus;
    (1..top).rev().map(move |k| k * modulus + 1).filter(|&p| p % 2 == 1 && is_prime(p))
}

/// Miller and Rabin's test with the first twelve primes as bases, which is a proof below 3.3·10²⁴
/// (J. Sorenson and J. Webster, Math. Comp. 86, 985 (2017)). `n` odd and large.
fn is_prime(n: u64) -> bool {
    let field = Field::new(n);
    let (one, minus_one) = (field.enter(1), field.enter(n - 1));
    let twos = (n - 1).trailing_zeros();
    [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37].into_iter().all(|base| {
        let mut power = field.pow(field.enter(base), (n - 1) >> twos);
        if power == one {
            return true;
        }
        for _ in 0..twos {
            if power == minus_one {
                return true;
            }
            power = field.mul(power, power);
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplication_agrees_with_128_bit_remainders() {
        let p = primes(128).next().unwrap();
        let field = Field::new(p);
        let (mut a, mut b) = (123_456_789_u64, p - 2);
        for _ in 0..100 {
            let expected = (u128::from(a) * u128::from(b) % u128::from(p)) as u64;
            assert_eq!(field.leave(field.mul(field.enter(a), field.enter(b))), expected);
            assert_eq!(field.mul(field.inverse(field.enter(b)), field.enter(b)), field.enter(1));
            (a, b) = (b, expected);
        }
    }

    #[test]
    fn primes_are_prime_and_roots_have_their_order() {
        assert_eq!(primes(2).next(), Some((1 << 62) - 57), "the largest prime below 2^62");
        assert!(!is_prime(3_215_031_751), "a strong pseudoprime to the bases 2, 3, 5 and 7");
        assert!(is_prime((1 << 61) - 1), "a Mersenne prime");
        for order in [1, 2, 6, 64, 1984] {
            let field = Field::new(primes(order).next().unwrap());
            let w = field.root_of_unity(order);
            let mut power = w;
            for _ in 1..order {
                assert_ne!(power, field.enter(1));
                power = field.mul(power, w);
            }
            assert_eq!(power, field.enter(1), "order {order}");
        }
    }
}
