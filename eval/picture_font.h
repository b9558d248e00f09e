// Letters for pictures: 5 x 7 dots.
#ifndef KD_EVAL_PICTURE_FONT_H_
#define KD_EVAL_PICTURE_FONT_H_

namespace kd {

constexpr int kLetterWidth = 5;

// Whether the letter has a dot at `column` (0..4) of `row` (0..6). Small letters look like capitals, but for the m of
// metres; a character that the font lacks is a block.
bool LetterCovers(char letter, int column, int row);

}  // namespace kd

#endif  // KD_EVAL_PICTURE_FONT_H_
