"""Every number that a verdict depends on, with where it comes from.

"Tuning" are the runs of ``bench/run.py doctor --tuning`` (50 families of data, from blobs to engines; five activations,
four optimizers, one to four hidden layers): a threshold lies between what healthy and what sick runs showed there. The
table of that benchmark is made with other data, sizes and seeds.
"""

from __future__ import annotations

# ---- Did the run fail? Scores go from 0, the best constant answer, to 1, perfect.
#: A run fails that has learned less than this share of what a simple method reaches on a few hundred rows. Healthy runs
#: of tuning had 0.84 and more.
LEARNED_OF_BASELINE = 0.8
#: Nobody asks what a simple method would have reached when less of the loss is left, and the gap to validation is
#: small.
LOSS_SMALL = 0.25
GAP_SMALL = 0.1
#: Nor when so much was learned.
LEARNED_MUCH = 0.8
#: What a baseline must reach to be held against a run; below, two standard errors of it on 384 rows include 0.
BASELINE_KNOWN = 0.15
#: Without a baseline: the share of the loss of the best constant answer that is left. CS231n: at chance, nothing is
#: learned.
LOSS_LEFT = 0.9
#: A loss above so many times that of the best constant answer is a failure whatever the score. Healthy: up to 0.41.
LOSS_ABOVE_CHANCE = 1.0

#: Differences of scores smaller than so many standard errors may be chance.
STANDARD_ERRORS = 2.0

# ---- Inputs
#: Root mean square of all inputs: 1 when standardized, 0.3 to 0.6 for pixels in [0, 1]; digits from 0 to 16 (about 8)
#: still train, but start with a large loss. LeCun et al. 1998 (Efficient BackProp), Ng's course: near 1.
INPUT_RMS = 5.0
#: Before training, when nothing shows yet whether it hurts.
INPUT_RMS_UNSEEN = 30.0
#: Mean over deviation, root mean square over the features: pixels in [0, 1] have 1 to 2.
INPUT_OFFSET = 4.0
INPUT_OFFSET_UNSEEN = 10.0
#: Largest over median deviation: features that count thirty times as much
#: as others.
INPUT_SPREAD = 30.0
#: Share of features that vary a hundredth as much as the largest, or less: a first layer hardly sees them.
INPUT_TINY_SHARE = 0.25
#: A feature that varies so many times less than the largest is small beside it: gradient descent learns from it a
#: hundred times as slowly (LeCun et al. 1998: with the square of the size).
INPUT_UNEVEN = 10.0
#: The small ones matter if simple methods know no more than this share without them of what they know with them, and a
#: run failed.
INPUT_LOST = 0.8
#: Inputs so small that nothing comes through: 1/30 of the standardized size. In a run that went badly, what counts is
#: how much they vary around their means.
INPUT_SMALL = 0.03

# ---- Labels
#: Share of a feature's variance that the classes explain when it is a copy of them; one with 5 % noise has 0.9975. Two
#: classes that are 20 deviations apart have 0.99.
FEATURE_IS_CLASS = 0.995
#: The same for values: a copy with 3 % noise. The last value of a slow series tells 0.99 of the next.
FEATURE_IS_VALUE = 0.999
#: Classes or values in a feature to the last digit are a copy whatever else is known; measurements differ in some.
FEATURE_IS_COPY = 1 - 1e-9
#: Otherwise all others together must know less of the classes than this,
OTHERS_KNOW = 0.96
#: or leave so many times as much of the variance of the values it tells: 0.04 beside a copy with 3 % noise, the least
#: that counts as one, and less beside closer ones. Of values that follow a law of the other inputs, these may know all
#: but the noise, which only a copy has. The last value of a slow series leaves a tenth of what those before it do.
OTHERS_LEAVE = 40.0
#: ... and more than simple methods leave of laws without noise: of a smooth one, from a few hundred rows, about 0.01.
OTHERS_LEAVE_ALWAYS = 0.02
#: ... and nothing of what is between it and the target: in a law they have their part, on a copy it is noise.
REMAINDER_KNOWN = 0.5
#: Share of the validation rows that are training rows, beyond what repeats within the training set.
ROWS_SHARED = 0.15
#: Knowledge that is as good as none: two standard errors of the score of 300 rows.
NOTHING_KNOWN = 0.12
#: ... and for the baseline, which is the best of three methods.
BASELINE_BLIND = 0.16
#: ... while the training set was learned to at least this.
LEARNED_BY_HEART = 0.3

# ---- Start
#: Loss at the start over that of knowing nothing; He initialization of the output layer gives up to 3 (sanity checks of
#: CS231n).
INITIAL_LOSS = 5.0
#: For mse the scores themselves add their variance: 27 in a healthy run with three layers of Maxout.
INITIAL_LOSS_MSE = 35.0
#: A start that is higher than these by such a factor is a cause of its own. Up to it nets of Maxout, or with He's
#: weights in the output layer, come by nature: healthy runs of tuning had up to 1.1, those given a bad start 2.5 and
#: more.
INITIAL_LOSS_CAUSE = 1.5
#: Share of the epochs after which half of what a run learns should be known, two epochs at least: what it needs beyond
#: goes into unlearning the start. Only asked of runs with such a start, who needed 0.08 to 1.
HELD_UP = 0.08
#: Growth of the spread of dense outputs from the first to the last hidden layer, per layer and in all. He and Xavier
#: keep it near 1 (He et al. 2015); Ng's course: 1.5 per layer is an explosion.
GROWTH_PER_LAYER = 1.5
GROWTH = 10.0
#: Gradient that comes back to the first layer over the largest that comes back to any: dW over what goes into the
#: layer, root mean squares. Tuning: at most 0.003 where signals vanish; in healthy runs 0.035 and more, and 0.005 to
#: 0.012 of two sigmoid layers with Xavier's weights, which train well.
GRADIENT_DECAY = 0.004
#: Share of saturated activations (|tanh| > 0.97, sigmoid outside [0.03, 0.97]) in a layer. Xavier starts below 0.05.
SATURATED = 0.4
#: Before training, when nothing shows yet whether it hurts: He's weights with inputs of deviation 3 have 0.62.
SATURATED_UNSEEN = 0.7
#: At the end: trained layers may well be saturated in part.
SATURATED_END = 0.8
#: Share of units that are zero for every row. Layers of healthy runs ended with up to 0.5 in tuning.
DEAD = 0.6
#: Rows from which a unit that is zero for all of them is dead: one that lives is zero for half of them.
ROWS_FOR_DEAD = 8

# ---- Rate
#: Update over weights per step, median over the tensors. CS231n: 1e-3 is good; Adam at its usual rates has 1e-2 in the
#: first epochs.
RATIO_HIGH = 0.03
#: ... at the start, where healthy runs with Adam had up to 0.12 on small layers.
RATIO_HIGH_FIRST = 0.15
#: Sum of all updates over the weights. Healthy runs of tuning went 0.5 and more; 20 epochs of 30 steps at 1e-3 are 0.6.
PATH_SHORT = 0.4
#: ... so little that it does not matter whether the loss still falls.
PATH_NONE = 0.02
#: A run that went a short way and has so much of the loss left is slow even where a simple method does no better, if
#: the loss still falls and larger steps win at once.
LOSS_UNTOUCHED = 0.5
#: Share of the loss that is won in the last third of a run that was stopped in the middle of learning (a straight line
#: down: CS231n on rates that are too low), and how much the loss rises at most.
STILL_FALLING = 0.2
#: ... with updates so small beside the weights, to be steeper than flat is enough. CS231n: 1e-3 is good.
RATIO_LOW = 5e-4
QUIET = 0.01
#: So few steps in all are what is wrong, when batches are larger than usual.
STEPS_FEW = 200
BATCH_USUAL = 32
#: What ten steps with another rate win or lose from where the run ended, relative to the loss of the best constant
#: answer.
PROBE_WINS = 0.03
#: ... that is more than learning the noise of a few hundred rows wins: 0.07 for one that was at its end.
PROBE_WINS_MUCH = 0.15
#: Upward moves of the loss per epoch, in the second half, over its level.
RISES = 0.05
#: ... and over the loss of the best constant answer, where much of that is left at the end: noise around a small loss
#: does no harm, so that it counts by the share of LEFT_TO_SWING. Healthy runs of tuning had up to 0.020, but for those
#: whose loss dropout makes noisy; of 111 that oscillate two had 0.017 and 0.018, the others 0.024 and more.
RISES_WITH_MUCH_LEFT = 0.022
LEFT_TO_SWING = 0.15
#: ... if it is so much of the mean level, too: what dropout does to the loss of an epoch was 0.07, swings 0.15.
RISES_OF_LEVEL = 0.1
#: ... and at least so many times: up once or twice in a few epochs is no swing.
RISES_AGAIN = 3
#: ... or, when the run happens to end low, without that share. Healthy runs of tuning had up to 0.028; digits with ten
#: times the rate that is good 0.043 to 0.12.
RISES_ON_AVERAGE = 0.035
#: ... and in which share of these epochs by RISES_MUCH: a few spikes are no swing.
RISES_OFTEN = 0.15
RISES_MUCH = 0.05
#: ... unless they are as large as that, on average over all these epochs.
RISES_FAR = 0.1
#: What is enough when the run does not once, in the second half, know new rows as well as a simple method does after a
#: few, by so much. Healthy runs of tuning rise by up to 0.027, but know as much or more in their better epochs (up to
#: 0.021 less); digits with ten times the rate that is good never do (0.043 less and more).
RISES_WHEN_BEHIND = 0.015
BEHIND = 0.03
#: A loss so much above that of the best constant answer and that of the start was driven there.
LOSS_DRIVEN_UP = 1.3
#: ... and the mean of an epoch that is so much above was thrown there, from where some runs do not find back: large
#: steps have made large weights, that steps of any rate hardly turn.
LOSS_THROWN_UP = 3.0
#: How much of the loss is still won in the last third of the run when it is not flat.
FLAT = 0.05
#: ... and the steps that this third must have for anyone to say that a loss stands still, when half of it is learned:
#: moons with a rate that is good take 200 to bend the border between the classes.
STEPS_TO_STAND = 100
#: What the validation loss still falls by in that third, over the loss of the best constant answer, when more than the
#: noise of the training rows is won. Tuning: 0.004 where it was not, 0.018 and more where it was.
VALIDATION_GAINS = 0.01
#: Rate at the end over the largest: below, training was over before the run was.
RATE_DECAYED = 0.01
#: A run whose rate decayed like that should have finished learning: share of the baseline.
LEARNED_WHEN_DECAYED = 0.95
#: ... or the loss that is left then.
LEFT_WHEN_DECAYED = 0.4
#: Loss of a run that ran away, over that at its start and that of the best constant answer.
RUNAWAY = 20.0

# ---- Generalization
#: Training score less validation score; healthy runs of tuning are below 0.12 by selection. AutoTrainer: 0.07 to 0.10
#: in accuracy.
GAP = 0.2
#: Validation loss at the end over its minimum. nnscope: 1.15.
VALIDATION_RISES = 1.15
#: A gap that needs no rise of the loss beside it.
GAP_ALONE = 0.35
#: Pull of the penalty over pull of the data on the weights at the start, median over the tensors. Healthy: 1e-3.
PENALTY_PULL = 0.03
#: Pull that holds back a run that does not fail.
PENALTY_PULLS_HARD = 0.3
#: Penalty at the end, over the loss of the best constant answer, of weights that grew and are held by it all the same.
PENALTY_COSTS = 0.1
#: ... and what it then leaves of the loss: the loss that is left, over that of the best constant answer.
LOSS_HELD_BACK = 0.3
#: Rows per batch from which batch statistics are hardly noise: with 2 rows x_hat is +-1 and knows only their order.
BATCH_TINY = 4
#: ... and still suspect when training and inference disagree.
BATCH_SMALL = 8
#: Narrowest hidden layer that can be too narrow for a task.
NARROW = 4
