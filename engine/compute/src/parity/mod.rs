//! Seeded cases, oracles and tolerances of the operation families; no device is named here.
