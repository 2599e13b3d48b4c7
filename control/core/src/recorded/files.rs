//! What programs do with the files of file symbols.

use super::{Input, Recorded};
use crate::files::{FileAnswer, FileError, FileHandle, FileRead, PacketFile, Written};
use frames::SymbolId;
use l2link::recording::{BatchState, Output};
use l2link::{Batch, Time};

/// Each as the method of [`Control`](crate::Control) of the same name.
#[allow(missing_docs, clippy::missing_errors_doc, reason = "the control's methods say what they do")]
impl Recorded {
    pub fn handle_file_open(
        &mut self,
        request: u64,
        symbol: SymbolId,
        file: PacketFile,
        writes: bool,
        wall: u64,
        now: Time,
    ) {
        self.note(|| Input::FileOpen { request, symbol, file, writes, wall, now });
        self.control.handle_file_open(request, symbol, file, writes, wall, now);
    }

    pub fn handle_file_closed(&mut self, handle: FileHandle, now: Time) {
        self.note(|| Input::FileClosed { handle, now });
        self.control.handle_file_closed(handle, now);
    }

    pub fn handle_file_read(
        &mut self,
        request: u64,
        handle: FileHandle,
        size: usize,
        waits: bool,
    ) -> FileRead {
        self.note(|| Input::FileRead { request, handle, size, waits });
        let read = self.control.handle_file_read(request, handle, size, waits);
        self.answer(read)
    }

    pub fn handle_file_taken(&mut self, handle: FileHandle, length: usize) {
        self.note(|| Input::FileTaken { handle, length });
        self.control.handle_file_taken(handle, length);
    }

    pub fn handle_file_poll(&mut self, handle: FileHandle, poll: Option<u64>) -> bool {
        self.note(|| Input::FilePoll { handle, poll });
        let readable = self.control.handle_file_poll(handle, poll);
        self.answer(readable)
    }

    pub fn handle_file_interrupt(&mut self, request: u64, now: Time) {
        self.note(|| Input::FileInterrupt { request, now });
        self.control.handle_file_interrupt(request, now);
    }

    pub fn handle_file_write(
        &mut self,
        handle: FileHandle,
        data: &[u8],
        now: Time,
        batch: &mut Batch,
    ) -> Result<Written, FileError> {
        let state = BatchState::of(batch);
        self.note(|| Input::FileWrite { handle, data: data.into(), now, batch: state });
        let written = self.control.handle_file_write(handle, data, now, batch);
        if let Some(recorder) = &mut self.recorder {
            recorder.output(Output::Frames(batch, state.held()));
        }
        self.answer(written)
    }

    /// Written down also if there is none: files that were looked through are not looked through again.
    pub fn poll_file_answer(&mut self) -> Option<FileAnswer> {
        self.note(|| Input::PollFileAnswer);
        let answer = self.control.poll_file_answer();
        self.answer(answer)
    }

    pub fn handle_files_gone(&mut self, now: Time) {
        self.note(|| Input::FilesGone { now });
        self.control.handle_files_gone(now);
    }
}
