//! Whole bursts against a model made of `protocol`'s parts: octet for octet.

use super::rig::{FLOWS, FORMS, LIMIT, Packet, Spec, State, Step, World, buffers, keys, run, tuple};
use crate::lanes::record::index_limit;
use crate::lanes::{Lanes, Set};
use crate::packet::buffer::{PacketBuf, VecBuf};
use crate::packet::{parse, rewrite};
use proptest::prelude::*;
use protocol::aead::{Path, Slot, seal_by};
use protocol::delta_time;
use protocol::meter::Meter;
use protocol::nonce::nonce;
use protocol::suite::Aead;
use protocol::wire::dest_opts::plan_insert;
use protocol::wire::option::{Form, Metrics, Prefix6, emit_clear, emit_encrypted, emit_pdm};
use std::sync::atomic::Ordering;

/// What the slow way would know of a flow.
#[derive(Default)]
struct Flow {
    meter: Meter,
    packets: u16,
}

struct Model {
    form: Form,
    specs: Vec<Spec>,
    flows: Vec<Flow>,
}

impl Model {
    fn stays(&self, packet: &Packet, burst: usize) -> bool {
        let (spec, flow) = (&self.specs[packet.flow], &self.flows[packet.flow]);
        packet.shape.is_plain()
            && match self.form {
                Form::Clear => matches!(spec.state, State::Clear | State::ClearF),
                Form::Pdm => spec.state == State::Pdm,
                Form::Encrypted => matches!(spec.state, State::Fine | State::FineF),
            }
            && packet.payload + 40 <= usize::from(LIMIT)
            && spec.index + flow.packets < index_limit(burst)
    }

    /// The packet with its option, as the slow way puts it in.
    fn with_option(&mut self, packet: &Packet, pointer: u32, sent: u64) -> VecBuf {
        let (spec, flow) = (&self.specs[packet.flow], &mut self.flows[packet.flow]);
        let (key, base_nonce, order) = keys(packet.flow);
        let prseq = order.prseq(spec.index + flow.packets);
        let psntp = spec.psntp.wrapping_add(flow.packets);
        flow.packets += 1;
        let times = flow.meter.on_send(psntp, sent);
        let (tlr, tls) = (delta_time::from_nanos(times.delta_tlr_ns), delta_time::from_nanos(times.delta_tls_ns));
        let metrics = Metrics {
            scale_dtlr: tlr.scale,
            scale_dtls: tls.scale,
            global_pointer: pointer,
            psntp,
            psnlr: times.psnlr,
            delta_tlr: tlr.value,
            delta_tls: tls.value,
        };
        let head = Prefix6 { reserved: 0, prseq, f: u8::from(matches!(spec.state, State::FineF | State::ClearF)) };
        let mut slot = Slot { key, nonce: nonce(base_nonce, prseq), text: metrics.emit(), ..Slot::ZERO };
        slot.aad = head.emit(Form::Encrypted);
        seal_by(Path::Portable, Aead::Aes128Gcm, core::slice::from_mut(&mut slot));
        let mut buffer = VecBuf::new(&packet.frame());
        let parsed = parse::parse(&buffer).expect("a plain packet");
        assert_eq!(parsed.chain.five_tuple, tuple(packet.flow));
        let plan = plan_insert(&parsed.chain, &buffer.data()[parsed.l3..], self.form).expect("a plain packet");
        let option = match self.form {
            Form::Clear => emit_clear(&head, &metrics).to_vec(),
            Form::Pdm => emit_pdm(&metrics).to_vec(),
            Form::Encrypted => emit_encrypted(&slot.aad, &slot.text, &slot.tag).to_vec(),
        };
        assert!(rewrite::insert(&mut buffer, parsed.l3, &plan, &option));
        buffer
    }

    /// A packet comes back, to the model and to the record; its round trip is found in the same send times.
    fn receive(&self, world: &World, &(flow, psntp, psnlr, before): &(usize, u16, u16, u64), now: u64) {
        let (record, at) = (&world.records[flow], now.saturating_sub(before));
        let kept = record.meter.log.each_ref().map(|word| word.load(Ordering::Relaxed));
        let kept = kept.into_iter().find(|&word| word != 0 && word as u16 == psnlr);
        let meter = &self.flows[flow].meter;
        let before = meter.acknowledged.load(Ordering::Relaxed);
        let answers = before == 0 || before as u16 != psnlr;
        let sample = meter.on_receive(psntp, psnlr, 1, at);
        let kept_for = kept.map(|word| (at << 1).wrapping_sub(word >> 16 << 1) & ((1 << 48) - 1));
        // 1 ns of it is the other side's.
        let trip = kept_for.map(|twice| if twice >> 47 == 1 { 0 } else { twice / 2 }).and_then(|ns| ns.checked_sub(1));
        assert_eq!(sample.round_trip_ns, trip.filter(|_| answers), "flow {flow}");
        let word = 1 << 63 | (at & ((1 << 47) - 1)) << 16 | u64::from(psntp);
        record.meter.last_received.store(word, Ordering::Relaxed);
        record.meter.acknowledged.store(meter.acknowledged.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

fn check(set: Set, form: Form, specs: &[Spec], steps: &[Step]) {
    let world = World::new(specs);
    let mut lanes = Lanes::new(set);
    let flows = (0..FLOWS).map(|_| Flow::default()).collect();
    let mut model = Model { form, specs: specs.to_vec(), flows };
    let mut now = 1u64 << 50;
    for step in steps {
        now += step.pause_ns;
        step.back.iter().for_each(|back| model.receive(&world, back, now));
        // Those of the slow way that take a Global Pointer.
        let others = step.pointer;
        let before = model.flows.iter().map(|flow| flow.packets).collect::<Vec<_>>();
        let stays = step.packets.iter().map(|packet| model.stays(packet, step.packets.len())).collect::<Vec<_>>();
        let fast = stays.iter().enumerate().fold(0u32, |bits, (i, &stays)| bits | u32::from(stays) << i);
        let mut buffers = buffers(&step.packets);
        let mut burst = lanes.front(&world.view(form, now), &mut buffers);
        assert_eq!(burst.fast(), fast);
        for (i, packet) in step.packets.iter().enumerate() {
            if stays[i] {
                assert_eq!(usize::from(burst.policy(i)), packet.flow);
            }
            if packet.shape.is_plain() {
                assert_eq!(burst.fingerprint(i), Some(world.key.fingerprint(&tuple(packet.flow).words())));
            }
            if i % 5 == 4 {
                burst.number_until(i);
            }
        }
        let others = others & !fast & ((1u64 << step.packets.len()) - 1) as u32;
        let done = burst.back(&mut buffers, step.pointer, others, now + 700);
        assert_eq!(done, fast);
        for (i, (packet, buffer)) in step.packets.iter().zip(&buffers).enumerate() {
            if !stays[i] {
                assert_eq!(buffer.data(), packet.frame(), "packet {i} is left alone");
                continue;
            }
            let pointer = step.pointer.wrapping_add(((fast | others) & ((1 << i) - 1)).count_ones());
            let wanted = model.with_option(packet, pointer, now + 700);
            assert_eq!(buffer.data(), wanted.data(), "packet {i} of {}: {packet:?}", step.packets.len());
        }
        for (flow, (record, spec)) in world.records.iter().zip(specs).enumerate() {
            let packets = model.flows[flow].packets;
            let number = record.meter.next.load(Ordering::Relaxed);
            assert_eq!((number >> 32) as u16, spec.index + packets, "index");
            assert_eq!((number >> 48) as u16, spec.psntp.wrapping_add(packets), "PSNTP");
            let was_seen = (record.held.load(Ordering::Relaxed) >> 32) as u32;
            assert!(packets == before[flow] || was_seen == (now >> 28) as u32, "seen");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(64) })]
    #[test]
    fn bursts_are_what_the_parts_of_the_protocol_make_of_them((specs, steps) in run()) {
        for set in Set::available() {
            FORMS.iter().for_each(|&form| check(set, form, &specs, &steps));
        }
    }
}

/// More flows than a bucket holds stand in their other buckets.
#[test]
fn flows_that_are_not_in_their_first_bucket_are_found() {
    let specs = vec![Spec { state: State::Fine, index: 0, psntp: 0 }; 4096];
    let world = World::new(&specs);
    let elsewhere = (0..specs.len()).filter(|&flow| {
        let hash = world.key.fingerprint(&tuple(flow).words()).lo as usize;
        let first = &world.index.buckets()[hash & (world.index.buckets().len() - 1)];
        first.0.iter().all(|word| word.load(Ordering::Relaxed) as u32 != flow as u32)
    });
    let elsewhere: Vec<usize> = elsewhere.take(32).collect();
    assert!(elsewhere.len() > 3, "{elsewhere:?}");
    let packets: Vec<Packet> =
        elsewhere.iter().map(|&flow| Packet { flow, shape: super::rig::Shape::Plain, payload: 20 }).collect();
    for set in Set::available() {
        let mut lanes = Lanes::new(set);
        let burst = lanes.front(&world.view(Form::Encrypted, 5), &mut buffers(&packets));
        assert_eq!(burst.fast().count_ones() as usize, packets.len(), "{}", set.name());
    }
}

/// A kind of buffer that knows nothing of windows, or has no room, and bursts of nothing.
#[test]
fn what_has_no_window_is_left_to_the_slow_way() {
    let world = World::new(&[Spec { state: State::Fine, index: 0, psntp: 0 }; FLOWS]);
    for set in Set::available() {
        let mut lanes = Lanes::new(set);
        let frame = Packet { flow: 0, shape: super::rig::Shape::Plain, payload: 30 }.frame();
        let mut packets = vec![VecBuf::new(&frame); 3];
        // No headroom: as after four options more.
        while packets[1].headroom() >= 40 {
            assert!(packets[1].prepend(40));
        }
        let window = packets[1].headroom();
        packets[1].data_mut()[..frame.len()].copy_from_slice(&frame);
        assert!(window < 40 && packets[1].window().is_none());
        let burst = lanes.front(&world.view(Form::Encrypted, 5), &mut packets);
        assert_eq!(burst.fast(), 0b101);
        assert_eq!(burst.back(&mut packets, 0, 0, 5), 0b101);
        let nothing: &mut [VecBuf] = &mut [];
        let burst = lanes.front(&world.view(Form::Encrypted, 5), nothing);
        assert_eq!((burst.fast(), burst.back(nothing, 0, 0, 5)), (0, 0));
    }
}
