//! The choices of an input: read from its front, byte by byte.

/// What is left of an input. Once it is empty, every choice is the first one.
#[derive(Clone)]
pub struct Dice<'a> {
    rest: &'a [u8],
}

impl<'a> Dice<'a> {
    pub fn new(input: &'a [u8]) -> Dice<'a> {
        Dice { rest: input }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.rest.split_first() else {
            return 0;
        };
        self.rest = rest;
        byte
    }

    /// A number below `end`, which is at most 256.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// As many bytes as the next one says.
    pub fn piece(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.rest.len());
        let (piece, rest) = self.rest.split_at(length);
        self.rest = rest;
        piece
    }

    /// Everything else.
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }
}

/// An input whose pieces [`Dice::piece`] gives back.
pub fn pieces(choices: &[u8], pieces: &[&[u8]]) -> Vec<u8> {
    let mut input = choices.to_vec();
    for piece in pieces {
        input.push(u8::try_from(piece.len()).expect("a sample's piece is short"));
        input.extend_from_slice(piece);
    }
    input
}
