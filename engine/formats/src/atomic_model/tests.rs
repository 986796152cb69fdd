#![allow(clippy::disallowed_methods)] // temporary files of tests, and where their data are

use super::*;
use proptest::prelude::*;
use std::path::PathBuf;

fn from(text: &str) -> Result<AtomicModel, AtomicModelError> {
    parse(Path::new("m.pdb"), text)
}

const PDB: &str = "\
HEADER    CHAPERONE                               05-SEP-02   1MNF
TITLE     DOMAIN MOTIONS
TITLE    2 IN GROEL
JRNL        AUTH   J.WANG,L.CHEN
JRNL        REF    J.MOL.BIOL.                   V. 334   489 2003
REMARK 350 BIOMOLECULE: 1
REMARK 350 APPLY THE FOLLOWING TO CHAINS: A,
REMARK 350                    AND CHAINS: B
REMARK 350   BIOMT1   1  1.000000  0.000000  0.000000        0.00000
REMARK 350   BIOMT2   1  0.000000  1.000000  0.000000        0.00000
REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        0.00000
REMARK 350   BIOMT1   2 -1.000000  0.000000  0.000000       10.00000
REMARK 350   BIOMT2   2  0.000000 -1.000000  0.000000        0.00000
REMARK 350   BIOMT3   2  0.000000  0.000000  1.000000        5.00000
MODEL        1
ATOM      1  N   LYS A   1      11.104   6.134  -6.504  1.00 27.49           N
ATOM      2  CA  LYS A   1      11.639   6.071  -5.147  0.50 27.96
HETATM    3 CA    CA B   2      -1.000   2.000   3.000
ATOM      4 HG11 VAL B   3       1.000   2.000   3.000  1.00 10.00
HETATM    5  O   HOH B   4       9.000   9.000   9.000  1.00 10.00           O
ENDMDL
MODEL        2
ATOM      1  N   LYS A   1      99.104   6.134  -6.504  1.00 27.49           N
ENDMDL
";

#[test]
fn pdb_records_are_read() {
    let model = from(PDB).unwrap();
    assert_eq!((model.id.as_str(), model.title.as_str()), ("1MNF", "DOMAIN MOTIONS IN GROEL"));
    assert_eq!(model.citation, "J.WANG,L.CHEN J.MOL.BIOL. V. 334 489 2003");
    let symbols: Vec<&str> = model.atoms.iter().map(|a| a.element.symbol()).collect();
    assert_eq!(symbols, ["N", "C", "Ca", "H"]);
    assert_eq!(model.atoms[0].position_a, [11.104, 6.134, -6.504]);
    assert_eq!((model.atoms[1].occupancy, model.atoms[1].b_factor_a2), (0.5, 27.96));
    assert_eq!((model.atoms[2].occupancy, model.atoms[2].b_factor_a2), (1.0, 0.0));
    assert_eq!((model.waters, model.chains.join("")), (1, "AB".to_string()));
    let built = model.build_assembly("1").unwrap();
    assert_eq!(built.atoms.len(), 8);
    let moved = built.atoms[4].position_a;
    assert!((moved[0] + 1.104).abs() < 1e-12 && (moved[1] + 6.134).abs() < 1e-12);
    assert!((moved[2] + 1.504).abs() < 1e-12);
    assert!(model.build_assembly("2").is_none());
}

const CIF: &str = "\
# a comment
data_4ABC
_entry.id   4ABC
_struct.title 'it''s a title'
_citation.journal_abbrev Nature
_citation.year ?
_other.text
;several
lines
;
loop_
_atom_site.group_PDB
_atom_site.type_symbol
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
_atom_site.occupancy
_atom_site.B_iso_or_equiv
_atom_site.pdbx_PDB_model_num
ATOM N LYS A 1.0 2.0 3.0 1.00 20.5 1
ATOM ZN 'ZN' B -1.0 0.5 3.5 ? . 1
HETATM O HOH C 0 0 0 1 1 1
ATOM N LYS A 9.0 2.0 3.0 1.00 20.5 2
#
loop_
_pdbx_struct_assembly_gen.assembly_id
_pdbx_struct_assembly_gen.oper_expression
_pdbx_struct_assembly_gen.asym_id_list
1 (1-2)(3) A,B
2 1 A
loop_
_pdbx_struct_oper_list.id
_pdbx_struct_oper_list.matrix[1][1]
_pdbx_struct_oper_list.matrix[1][2]
_pdbx_struct_oper_list.matrix[1][3]
_pdbx_struct_oper_list.vector[1]
_pdbx_struct_oper_list.matrix[2][1]
_pdbx_struct_oper_list.matrix[2][2]
_pdbx_struct_oper_list.matrix[2][3]
_pdbx_struct_oper_list.vector[2]
_pdbx_struct_oper_list.matrix[3][1]
_pdbx_struct_oper_list.matrix[3][2]
_pdbx_struct_oper_list.matrix[3][3]
_pdbx_struct_oper_list.vector[3]
1 1 0 0 0 0 1 0 0 0 0 1 0
2 -1 0 0 0 0 -1 0 0 0 0 1 0
3 1 0 0 7 0 1 0 0 0 0 1 0
";

#[test]
fn mmcif_categories_are_read() {
    let model = from(CIF).unwrap();
    assert_eq!(
        (model.id.as_str(), model.title.as_str(), model.citation.as_str()),
        ("4ABC", "it''s a title", "Nature")
    );
    assert_eq!(model.atoms.iter().map(|a| a.element.number()).collect::<Vec<_>>(), [7, 30]);
    assert_eq!((model.atoms[1].occupancy, model.atoms[1].b_factor_a2, model.waters), (1.0, 0.0, 1));
    // operator 3 (x + 7) acts before 2 (half a turn)
    let built = model.build_assembly("1").unwrap();
    assert_eq!(built.atoms.iter().map(|a| a.position_a[0]).collect::<Vec<_>>(), [8.0, 6.0, -8.0, -6.0]);
    assert_eq!(model.build_assembly("2").unwrap().atoms.len(), 1);
}

#[test]
fn errors_name_the_line() {
    let cases = [
        (
            PDB.replace("11.639", "1x.639"),
            "m.pdb line 17: x is `1x.639`, expected a number in columns 31 to 38",
        ),
        (PDB.replace("27.49           N", "27.49          Qq"), "line 16: element is `Qq`"),
        (PDB.replace("BIOMT2   1", "BIOMT3   1"), "line 10: BIOMT row"),
        ("REMARK nothing\n".into(), "m.pdb: no ATOM or HETATM record (0 of water)"),
        (CIF.replace("-1.0 0.5", "x 0.5"), "line 23: _atom_site.Cartn is `x`, expected a number"),
        (CIF.replace("_atom_site.Cartn_y\n", ""), "a multiple of 9"),
        (CIF.replace("_atom_site.Cartn_y", "_atom_site.other"), "item _atom_site.Cartn_y is missing"),
        (CIF.replace("(1-2)(3)", "(1-2)(9)"), "oper_expression is `(1-2)(9)`"),
    ];
    for (text, message) in cases {
        let error = from(&text).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    let error = read(Path::new("/nowhere/m.pdb")).unwrap_err().to_string();
    assert!(error.contains("/nowhere/m.pdb: cannot be read: No such file"), "{error}");
}

fn atom() -> impl Strategy<Value = Atom> {
    (1u8..=98, prop::array::uniform3(-500.0..500.0f64), 0.0..200.0f64).prop_map(|(number, position_a, b)| {
        Atom {
            element: Element::from_number(number).unwrap(),
            position_a,
            b_factor_a2: b,
            occupancy: 1.0,
            chain: 0,
        }
    })
}

proptest! {
    #[test]
    fn compact_files_round_trip_to_half_a_step(atoms in prop::collection::vec(atom(), 1..60), step in 0.01..0.1f64) {
        let model = AtomicModel { id: "1ABC".into(), title: "A\ntitle".into(), atoms, ..AtomicModel::default() };
        let mut bytes = Vec::new();
        prop_assert_eq!(compact::write(&mut bytes, &model, step).unwrap(), model.atoms.len());
        let back = from(std::str::from_utf8(&bytes).unwrap()).unwrap();
        prop_assert_eq!((back.id.as_str(), back.title.as_str()), ("1ABC", "A title"));
        for (a, b) in back.atoms.iter().zip(&model.atoms) {
            prop_assert_eq!(a.element, b.element);
            prop_assert!((a.b_factor_a2 - b.b_factor_a2).abs() <= 0.5);
            for axis in 0..3 {
                prop_assert!((a.position_a[axis] - b.position_a[axis]).abs() <= 0.5 * step + 1e-9);
            }
        }
        // one line short
        let text = String::from_utf8(bytes).unwrap();
        let cut = text.trim_end().rsplit_once('\n').unwrap().0;
        prop_assert!(from(cut).unwrap_err().to_string().contains("as the header says"));
    }

    #[test]
    fn mutated_files_never_panic(at in 0usize..2000, byte in any::<u8>(), which in 0usize..3) {
        let compact = "vitreous-atoms 1\nid x\ntitle y\ncitation z\nstep_a 0.05\natoms 1\nC 1 2 3 4\n";
        let mut bytes = [PDB, CIF, compact][which].as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = from(&String::from_utf8_lossy(&bytes));
        bytes.truncate(at);
        let _ = from(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn deposited_models_are_read() {
    let Ok(root) = std::env::var("VITREOUS_TESTDATA") else {
        println!("skipped: VITREOUS_TESTDATA not set");
        return;
    };
    let folder = PathBuf::from(root).join("models");
    for (name, atoms, waters) in [
        ("1MNF_GroEL.pdb.gz", 55552, 213),
        // an ensemble of 18 models of 138 atoms
        ("1uao.pdb", 138, 0),
        ("8zpm.cif", 3222, 0),
    ] {
        let model = read(&folder.join(name)).unwrap();
        assert_eq!((model.atoms.len(), model.waters), (atoms, waters), "{name}");
        assert!(!model.assemblies.is_empty(), "{name}");
    }
    let apoferritin = read(&folder.join("4v1w_apoferritin.cif.gz")).unwrap();
    assert_eq!(apoferritin.id, "4V1W");
    assert_eq!(apoferritin.chains.len(), 24);
    assert_eq!(apoferritin.build_assembly("1").unwrap().atoms.len(), apoferritin.atoms.len());
}

#[test]
fn truncated_gzip_is_an_error() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.pdb.gz");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(PDB.as_bytes()).unwrap();
    let bytes = encoder.finish().unwrap();
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(read(&path).unwrap(), from(PDB).unwrap());
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(read(&path).unwrap_err().to_string().contains("m.pdb.gz: cannot be read"));
}
