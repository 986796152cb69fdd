use super::*;
mod bench {
    use crate::{Ctx, Input, Stage};
    use std::collections::BTreeMap;
    use vitreous_compute::{comm::Solo, device::Cpu};
    use vitreous_model::pose::Rotation;
    use vitreous_model::{
        ctf::CtfParams, event::EventKind, exposure::OpticsGroup, outputs::*, particle::*, units::*,
    };

    #[test]
    #[ignore]
    fn apo() {
        let dir = std::path::PathBuf::from("/tmp/apo");
        let text = std::fs::read_to_string(dir.join("truth.json")).unwrap();
        let truth: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let f = |v: &serde_json::Value| v.as_f64().unwrap();
        let particles = truth
            .iter()
            .enumerate()
            .map(|(i, t)| Particle {
                id: i as u64 + 1,
                stack_path: "/tmp/apo/parts.mrcs".into(),
                stack_index: i as u32,
                optics_group: 1,
                pick: None,
                ctf: Some(CtfParams {
                    defocus_u_a: f(&t["U"]),
                    defocus_v_a: f(&t["V"]),
                    astigmatism_angle: Degrees(f(&t["a"])),
                    phase_shift: Degrees(0.0),
                    voltage: Kilovolt(300.0),
                    cs: Millimetre(2.7),
                    amplitude_contrast: 0.1,
                }),
                pose: None,
                half: None,
                log_likelihood: f64::NAN,
            })
            .collect();
        let set = ParticleSet {
            optics: vec![OpticsGroup {
                number: 1,
                name: "a".into(),
                voltage: Kilovolt(300.0),
                cs: Millimetre(2.7),
                amplitude_contrast: 0.1,
                movie_pixel_size_a: 1.8,
            }],
            box_px: 96,
            pixel_size_a: 1.8,
            particles,
        };
        let job = dir.join("job");
        let _ = std::fs::remove_dir_all(&job);
        std::fs::create_dir_all(&job).unwrap();
        vitreous_formats::table::particles::write(&dir.join("in.h5"), &set).unwrap();
        let start = std::time::Instant::now();
        let event = |e: EventKind| {
            if let EventKind::Figure { name, value, unit } = e {
                eprintln!("{:.1}s {name} {value:.3} {unit}", start.elapsed().as_secs_f64())
            } else if let EventKind::Phase { name, .. } = e {
                eprintln!("{:.1}s {name}", start.elapsed().as_secs_f64())
            }
        };
        let stop = || false;
        let mut ctx = Ctx::new(&job, &dir, &Cpu, &Solo, &event, &stop);
        ctx.params = serde_json::json!({"symmetry": "O", "initial_lowpass": 25.0, "diameter": 145.0});
        let input = |slot: &str, kind, path: &str| {
            vec![Input {
                job: "J1".into(),
                output: Output::new(slot, kind, path, 1),
                path: dir.join(path),
                parts: BTreeMap::new(),
            }]
        };
        ctx.inputs.insert("particles".into(), input("particles", Kind::Particles, "in.h5"));
        ctx.inputs.insert("volume".into(), input("volume", Kind::Volume, "truth.mrc"));
        let report = super::RefineHomogeneous.run(&ctx).unwrap();
        for n in &report.numbers {
            eprintln!("{} = {:?}", n.key, n.value);
        }
        let found = vitreous_formats::table::particles::read(&job.join("particles.h5")).unwrap();
        let ops = "O".parse::<vitreous_model::symmetry::PointGroup>().unwrap().rotations();
        let mut errs: Vec<f64> = found
            .particles
            .iter()
            .zip(&truth)
            .map(|(p, t)| {
                let q: Vec<f64> = t["q"].as_array().unwrap().iter().map(f).collect();
                vitreous_compute::directions::symmetric_angle_rad(
                    &ops,
                    p.pose.unwrap().rotation,
                    Rotation::new(q[0], q[1], q[2], q[3]),
                )
                .to_degrees()
            })
            .collect();
        errs.sort_by(f64::total_cmp);
        eprintln!(
            "pose error median {:.3} p90 {:.3} max {:.2}; {:.3}",
            errs[errs.len() / 2],
            errs[errs.len() * 9 / 10],
            errs[errs.len() - 1],
            errs.iter().sum::<f64>() / errs.len() as f64
        );
        let a = vitreous_formats::mrc::read_volume(&job.join("map.mrc")).unwrap().data;
        let b = vitreous_formats::mrc::read_volume(&dir.join("truth.mrc")).unwrap().data;
        let m = vitreous_formats::mrc::read_volume(&job.join("mask.mrc")).unwrap().data;
        let c = vitreous_compute::fsc::fsc_of_maps(a.view(), b.view(), Some(m.view()));
        eprintln!("to truth FSC.5 {:?}", vitreous_model::conventions::resolution_at(&c, 0.5, 96, 1.8));
    }
}
