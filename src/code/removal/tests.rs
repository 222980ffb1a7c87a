//! Removals as assemblers write them: llvm-mc turned the listings beside the bytes into them.

use super::*;

/// Code that starts at 0x1000, without names.
struct Bytes(u32, &'static [u8]);

const START: u32 = 0x1000;

impl CodeSource for Bytes {
    fn bits(&self) -> Option<u32> {
        Some(self.0)
    }

    fn base(&self) -> u64 {
        0x8000_0000
    }

    fn read(&self, rva: u32, buf: &mut [u8]) -> usize {
        let at = rva.checked_sub(START).map(|at| at as usize);
        let rest = at.and_then(|at| self.1.get(at..)).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        n
    }

    fn names_at(&self, _: u32) -> Vec<String> {
        Vec::new()
    }

    fn address_of(&self, _: &str) -> Option<u32> {
        None
    }

    fn import_at(&self, _: u32) -> Option<String> {
        None
    }
}

fn left(bits: u32, code: &'static [u8]) -> Option<LeftBehind> {
    left_behind(&Bytes(bits, code), START, &Budget::default())
}

#[test]
fn an_entry_made_its_own_list_is_left_pointing_at_itself() {
    // mov rax,[rdx]; mov rcx,[rdx+8]; mov [rcx],rax; mov [rax+8],rcx; mov [rdx+8],rdx; mov [rdx],rdx; ret
    let code =
        b"\x48\x8B\x02\x48\x8B\x4A\x08\x48\x89\x01\x48\x89\x48\x08\x48\x89\x52\x08\x48\x89\x12\xC3";
    assert_eq!(left(64, code), Some(LeftBehind::Itself));
    // lea r8,[rcx+40h]; mov rax,[r8]; mov rdx,[rcx+48h]; mov [rdx],rax; mov [rax+8],rdx;
    // mov [rcx+48h],r8; mov [rcx+40h],r8; ret
    let inside = b"\x4C\x8D\x41\x40\x49\x8B\x00\x48\x8B\x51\x48\x48\x89\x02\x48\x89\x50\x08\x4C\x89\x41\x48\x4C\x89\x41\x40\xC3";
    assert_eq!(left(64, inside), Some(LeftBehind::Itself));
    // cmp dword [rdx+14h],0; je out; the first one; out: ret
    let guarded = b"\x83\x7A\x14\x00\x74\x15\x48\x8B\x02\x48\x8B\x4A\x08\x48\x89\x01\x48\x89\x48\x08\x48\x89\x52\x08\x48\x89\x12\xC3";
    assert_eq!(left(64, guarded), Some(LeftBehind::Itself));
    // mov eax,[esp+8]; push esi; mov ecx,[eax]; mov edx,[eax+4]; add esp,-8; mov [edx],ecx; mov [ecx+4],edx;
    // add esp,8; pop esi; mov [eax+4],eax; mov [eax],eax; ret 8
    let x86 = b"\x8B\x44\x24\x08\x56\x8B\x08\x8B\x50\x04\x83\xC4\xF8\x89\x0A\x89\x51\x04\x83\xC4\x08\x5E\x89\x40\x04\x89\x00\xC2\x08\x00";
    assert_eq!(left(32, x86), Some(LeftBehind::Itself));
}

#[test]
fn null_is_told_whichever_way_it_is_stored() {
    // the unlink; and qword [rdx],0; and qword [rdx+8],0; ret
    let and = b"\x48\x8B\x02\x48\x8B\x4A\x08\x48\x89\x01\x48\x89\x48\x08\x48\x83\x22\x00\x48\x83\x62\x08\x00\xC3";
    // the unlink; xorps xmm0,xmm0; movups [rdx],xmm0; ret
    let vector =
        b"\x48\x8B\x02\x48\x8B\x4A\x08\x48\x89\x01\x48\x89\x48\x08\x0F\x57\xC0\x0F\x11\x02\xC3";
    // xor r8d,r8d; the unlink; mov [rdx],r8; mov [rdx+8],r8; ret
    let register = b"\x45\x31\xC0\x48\x8B\x02\x48\x8B\x4A\x08\x48\x89\x01\x48\x89\x48\x08\x4C\x89\x02\x4C\x89\x42\x08\xC3";
    for code in [&and[..], &vector[..], &register[..]] {
        assert_eq!(left(64, code), Some(LeftBehind::Null), "{code:X?}");
    }
    // push ebp; mov ebp,esp; push esi; mov ecx,[ebp+0Ch]; mov edx,[ecx]; mov esi,[ecx+4]; mov [esi],edx;
    // mov [edx+4],esi; mov dword [ecx],0; mov dword [ecx+4],0; pop esi; pop ebp; ret 8
    let x86 = b"\x55\x89\xE5\x56\x8B\x4D\x0C\x8B\x11\x8B\x71\x04\x89\x16\x89\x72\x04\xC7\x01\x00\x00\x00\x00\xC7\x41\x04\x00\x00\x00\x00\x5E\x5D\xC2\x08\x00";
    assert_eq!(left(32, x86), Some(LeftBehind::Null));
}

#[test]
fn a_bare_unlink_leaves_what_was_there() {
    let code = b"\x48\x8B\x02\x48\x8B\x4A\x08\x48\x89\x01\x48\x89\x48\x08\xC3";
    assert_eq!(left(64, code), Some(LeftBehind::Unchanged));
}

#[test]
fn anything_else_says_nothing() {
    let cases: [(&str, &[u8]); 7] = [
        (
            // the unlink; mov r9,[r8+8]; mov [rdx],r8; mov [rdx+8],r9; mov [r9],rdx; mov [r8+8],rdx; ret
            "moved to another list",
            b"\x48\x8B\x02\x48\x8B\x4A\x08\x48\x89\x01\x48\x89\x48\x08\x4D\x8B\x48\x08\x4C\x89\x02\x4C\x89\x4A\x08\x49\x89\x11\x49\x89\x50\x08\xC3",
        ),
        (
            // test ecx,ecx; the unlink; je other; to itself; ret; other: null; ret
            "two paths that disagree",
            b"\x85\xC9\x48\x8B\x02\x48\x8B\x4A\x08\x48\x89\x01\x48\x89\x48\x08\x74\x08\x48\x89\x52\x08\x48\x89\x12\xC3\x48\x83\x22\x00\x48\x83\x62\x08\x00\xC3",
        ),
        (
            // the unlink; and qword [rdx],0; ret
            "one of the two links",
            b"\x48\x8B\x02\x48\x8B\x4A\x08\x48\x89\x01\x48\x89\x48\x08\x48\x83\x22\x00\xC3",
        ),
        (
            // xorps xmm0,xmm0; movups xmm0,[rcx]; the unlink; movups [rdx],xmm0; ret
            "a vector register that is zero no more",
            b"\x0F\x57\xC0\x0F\x10\x01\x48\x8B\x02\x48\x8B\x4A\x08\x48\x89\x01\x48\x89\x48\x08\x0F\x11\x02\xC3",
        ),
        (
            // the unlink; to itself; call 2000h; ret
            "a call afterwards",
            b"\x48\x8B\x02\x48\x8B\x4A\x08\x48\x89\x01\x48\x89\x48\x08\x48\x89\x52\x08\x48\x89\x12\xE8\xE6\x0F\x00\x00\xC3",
        ),
        (
            // the unlink; here: jmp here
            "no end",
            b"\x48\x8B\x02\x48\x8B\x4A\x08\x48\x89\x01\x48\x89\x48\x08\xEB\xFE",
        ),
        (
            // mov rax,[rdx]; mov [rax+8],rcx; mov [rcx],rax; ret
            "no removal",
            b"\x48\x8B\x02\x48\x89\x48\x08\x48\x89\x01\xC3",
        ),
    ];
    for (what, code) in cases {
        assert_eq!(left(64, code), None, "{what}");
    }
}

#[test]
fn forks_without_end_stop_at_the_limit() {
    // je +0 again and again, then the unlink and a return: two to the 80th paths.
    let mut code = [0x74, 0x00].repeat(80);
    code.extend_from_slice(
        b"\x48\x8B\x02\x48\x8B\x4A\x08\x48\x89\x01\x48\x89\x48\x08\x48\x89\x52\x08\x48\x89\x12\xC3",
    );
    let budget = Budget::default();
    assert_eq!(
        left_behind(&Bytes(64, code.leak()), START, &budget),
        None,
        "too many paths"
    );
}

#[test]
fn any_bytes_are_read_within_the_limits() {
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    for round in 0..4000 {
        let mut code: Vec<u8> = std::iter::repeat_with(|| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 32) as u8
        })
        .take(96)
        .collect();
        // Every other one starts as a removal does.
        if round % 2 == 0 {
            code.splice(
                ..14,
                *b"\x48\x8B\x02\x48\x8B\x4A\x08\x48\x89\x01\x48\x89\x48\x08",
            );
        }
        let code: &'static [u8] = code.leak();
        for bits in [32, 64] {
            let budget = Budget::default();
            let before = budget.steps_left();
            left_behind(&Bytes(bits, code), START, &budget);
            let most = (MOST_PATHS as u64 + 1) * u64::from(MOST_STEPS);
            assert!(before - budget.steps_left() <= most, "{code:X?}");
        }
    }
}
