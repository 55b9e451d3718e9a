//! What the secondary had to make anew, or cannot vouch for: it is sent from the beginning, whatever the plan says.

use super::progress::Doing;
use super::source::{Ask, Broken, Sync};
use crate::id::ObjectId;
use crate::limits::RESYNC_DOUBTS;
use crate::objects::Kind;
use crate::op::{Question, Said};

impl Sync<'_> {
    /// Asks until the secondary has told everything. True if there is more to do than was known.
    pub(super) fn ask_made(&mut self, ask: &mut dyn Ask) -> Result<bool, Broken> {
        let mut news = false;
        *self.progress.doing.lock() = Doing::Made;
        loop {
            let number = self.ask(ask, Question::Made, self.stream.given())?;
            let Said::Made(runs) = self.answer(ask, number)? else { return Err(Broken::nonsense()) };
            if runs.is_empty() {
                return Ok(news);
            }
            for run in runs {
                // As many as there are: the secondary cannot keep us counting.
                let end = run.last.0.min(self.volume.objects.table.birth_floor().0);
                for id in (run.first.0..=end).map(ObjectId) {
                    news |= self.made(id, run.empty)?;
                }
            }
        }
    }

    fn made(&mut self, id: ObjectId, empty: bool) -> Result<bool, Broken> {
        let volume = self.volume;
        let Some(kind) = volume.objects.table.look(id, |entry| entry.kind) else { return Ok(false) };
        let (names, content) = (volume.names_known(id, self.epoch), volume.content_known(id, self.epoch));
        let directory = kind == Kind::Directory;
        let known = if directory { names } else { content || volume.data_known(id, self.epoch) };
        if !known {
            // It is on the list, and no operation on its data has travelled.
            if empty {
                self.empty.insert(id);
            }
            return Ok(false);
        }
        // Operations may have changed it there since it was made, so that it is not empty.
        self.empty.remove(id);
        let surprises = self.surprises.entry(id.0).or_default();
        *surprises += 1;
        if *surprises > RESYNC_DOUBTS {
            return Err(self.give_up(id));
        }
        {
            // Not in the middle of an operation.
            let _held = volume.objects.locks.one(id);
            self.scope.doubt(id);
            volume.objects.table.change(id, |entry| (entry.names_epoch, entry.content_epoch) = (0, 0));
        }
        if directory {
            self.directories.push_back(id);
        } else {
            self.add_content(id);
        }
        Ok(true)
    }
}
