use super::*;
use vitreous_compute::comm::Solo;
use vitreous_kernels_cuda::AnyDevice;

#[test]
fn names_are_stems_made_unique() {
    let files = ["/a/x.mrc", "/b/x.mrc", "/c/b/x.tif", "/d/b/x.tif", "/a/y.mrc"].map(PathBuf::from);
    assert_eq!(unique_names(&files, &HashMap::new()), ["x", "b-x", "x-2", "x-3", "y"]);
}

#[test]
fn known_names_stay_when_files_come_before_them_in_the_order() {
    let files = ["/a/x.mrc", "/b/x.mrc", "/c/y.mrc"].map(PathBuf::from);
    let known = [(&files[1], "x"), (&PathBuf::from("/gone/y.mrc"), "y")];
    let known = known.map(|(file, name)| (file.clone(), name.to_string())).into_iter().collect();
    assert_eq!(unique_names(&files, &known), ["a-x", "x", "c-y"]);
}

#[test]
fn the_most_common_value_wins_and_the_first_of_equals() {
    assert_eq!(most_common([3, 5, 5, 3, 5]), Some(5));
    assert_eq!(most_common([3, 5, 5, 3]), Some(3));
    assert_eq!(most_common([0; 0]), None);
}

#[test]
fn pixel_sizes_come_from_parameters_then_headers() {
    let from = |given, stated: &[Option<f64>]| {
        pixel_size(given, stated.iter().flatten().copied()).map_err(|e| e.to_string())
    };
    assert_eq!(from(Some(0.7), &[Some(1.2)]), Ok(0.7));
    assert_eq!(from(None, &[None, Some(1.2), Some(1.2001)]), Ok(1.2));
    assert!(from(None, &[None]).unwrap_err().contains("not in the files' headers"));
    assert!(
        from(None, &[Some(1.2), Some(1.3)]).unwrap_err().contains("differs between headers (1.2 and 1.3 Å)")
    );
    assert!(from(None, &[Some(1.0)]).unwrap_err().contains("1 Å in the headers"));
}

#[test]
fn voltage_and_cs_are_required() {
    let error = optics_group("g", None, Some(2.7), None, 1.0).unwrap_err();
    assert!(error.to_string().contains("`voltage`") && error.hint().contains("vitreous.yaml"));
    assert!(optics_group("g", Some(300.0), None, None, 1.0).unwrap_err().to_string().contains("`cs`"));
    assert_eq!(optics_group("g", Some(300.0), Some(2.7), None, 1.0).unwrap().amplitude_contrast, 0.1);
}

#[test]
#[allow(clippy::disallowed_methods)] // a test's own temporary files
fn patterns_count_from_the_project_whatever_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let project = dir.path().join("a [strange] name");
    std::fs::create_dir_all(project.join("raw")).unwrap();
    for name in ["b.mrc", "a.mrc", "gain.mrc", "notes.txt"] {
        std::fs::write(project.join("raw").join(name), "").unwrap();
    }
    let ctx = Ctx::new(&project.join("J1"), &project, &AnyDevice::Cpu, &Solo, &|_| {}, &|| false);
    let gain = project.join("raw/gain.mrc");
    let found = find(&ctx, "movies", Path::new("raw/*.mrc"), Some(&gain)).unwrap();
    assert_eq!(
        found.iter().map(|path| table_path(&ctx, path)).collect::<Vec<_>>(),
        ["raw/a.mrc", "raw/b.mrc"]
    );
    let absolute = find(&ctx, "movies", &project.join("raw/a.mrc"), None).unwrap();
    assert_eq!(absolute, [project.join("raw/a.mrc")]);
    let error = find(&ctx, "movies", Path::new("raw"), None).unwrap_err();
    assert!(error.to_string().contains("matches no file") && error.hint().contains("raw/*.tif"));
    assert!(find(&ctx, "movies", Path::new("raw/*.eer"), None).is_err());
    assert!(find_any(&ctx, "movies", Path::new("raw/*.eer"), None).unwrap().is_empty());
    assert!(find_any(&ctx, "movies", Path::new("raw"), None).is_err());
    assert!(
        find(&ctx, "movies", Path::new("raw/[.mrc"), None).unwrap_err().to_string().contains("is no pattern")
    );
}
