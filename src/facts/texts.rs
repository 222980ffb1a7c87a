//! The texts of one dump, held to a size. Real names are a few dozen bytes; a hostile dump has thousands of
//! them that are thousands of bytes long, and its record would be larger than any file it came from.

use super::{CrashFacts, Limit, Module, Modules, NameFact, StackFacts};

/// Longest text, in bytes: no path of Windows' own files and no function's name is half as long.
const TEXT: usize = 1024;
/// Longest of one dump's texts together, in bytes: ten times what the busiest machine has.
const ALL: usize = 512 * 1024;
/// What every text keeps, even when there are too many, in bytes.
const LEAST: usize = 48;
/// Other names of one place that are kept.
const ALIASES: usize = 16;

/// Cuts the texts that are too long, and remembers that it did.
pub fn cap(facts: &mut CrashFacts) {
    let mut room = Room {
        left: ALL,
        cut: false,
    };
    modules(&mut facts.modules, &mut room);
    for unloaded in facts.unloaded.iter_mut().flatten() {
        room.maybe(&mut unloaded.name);
    }
    room.maybe(&mut facts.process);
    room.maybe(&mut facts.system.machine);
    room.maybe(&mut facts.system.build_lab);
    for stack in facts.stack.iter_mut() {
        room.stack(stack);
    }
    for name in facts.fault.name.iter_mut() {
        room.name(name);
    }
    if let Some(memory) = &mut facts.memory {
        for stack in &mut memory.other_stacks {
            room.stack(stack);
        }
    }
    if let Some(bucket) = &mut facts.bucket {
        room.maybe(&mut bucket.key);
        room.maybe(&mut bucket.name);
    }
    if room.cut && !facts.limits.contains(&Limit::Text) {
        facts.limits.push(Limit::Text);
    }
}

/// What the texts of one dump may still take.
struct Room {
    left: usize,
    cut: bool,
}

impl Room {
    fn text(&mut self, text: &mut String) {
        let most = TEXT.min(self.left.max(LEAST));
        if text.len() > most {
            let mut end = most;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push('\u{2026}');
            text.shrink_to_fit();
            self.cut = true;
        }
        self.left = self.left.saturating_sub(text.len());
    }

    fn maybe(&mut self, text: &mut Option<String>) {
        if let Some(text) = text {
            self.text(text);
        }
    }

    fn name(&mut self, name: &mut NameFact) {
        self.text(&mut name.symbol);
        if name.aliases.len() > ALIASES {
            name.aliases.truncate(ALIASES);
            self.cut = true;
        }
        for alias in &mut name.aliases {
            self.text(alias);
        }
        if let Some((file, _)) = &mut name.line {
            self.text(file);
        }
    }

    fn stack(&mut self, stack: &mut StackFacts) {
        for name in stack.frames.iter_mut().filter_map(|f| f.name.as_mut()) {
            self.name(name);
        }
    }

    fn module(&mut self, module: &mut Module) {
        self.maybe(&mut module.name);
        self.maybe(&mut module.path);
        if let Some(pdb) = &mut module.pdb {
            self.text(&mut pdb.name);
            self.text(&mut pdb.guid_age);
        }
        if let Some(version) = &mut module.version {
            self.maybe(&mut version.branch_tag);
        }
        for wrong in &mut module.wrong_files {
            self.text(&mut wrong.file);
            self.text(&mut wrong.wanted);
            self.text(&mut wrong.found);
        }
    }
}

/// Texts of modules: most dumps' are short, and nothing is changed then.
fn modules(modules: &mut Modules, room: &mut Room) {
    let mut all = 0usize;
    let mut longest = 0;
    for module in modules.iter() {
        let pdb = module.pdb.as_ref().map(|pdb| pdb.name.as_str());
        let tag = module
            .version
            .as_ref()
            .and_then(|v| v.branch_tag.as_deref());
        for text in [module.name(), module.path.as_deref(), pdb, tag]
            .into_iter()
            .flatten()
        {
            all = all.saturating_add(text.len());
            longest = longest.max(text.len());
        }
        let wrong = module.wrong_files.iter();
        all = all.saturating_add(wrong.map(|w| w.file.len() + w.found.len()).sum());
    }
    if longest <= TEXT && all <= ALL / 2 {
        room.left = room.left.saturating_sub(all);
        return;
    }
    for id in modules.ids() {
        modules.update(id, |module| room.module(module));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_keeps_its_beginning() {
        let mut room = Room {
            left: ALL,
            cut: false,
        };
        let mut text = "\u{20AC}".repeat(1000);
        room.text(&mut text);
        assert!(room.cut && text.len() <= TEXT + 3 && text.ends_with('\u{2026}'));
        let mut short = "tcpip.sys".to_owned();
        room.cut = false;
        room.left = 0;
        room.text(&mut short);
        assert_eq!(short, "tcpip.sys");
        assert!(!room.cut);
    }
}
