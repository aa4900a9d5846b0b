"""What every code stands for: `nktc explain`.

Whatever `nktc check` says has a code, `[unknown-field]` at the end of its first line. A code is for ever: it may fall
out of use, it never comes to mean something else.
"""

from __future__ import annotations

import inspect
import textwrap
from dataclasses import dataclass

from nktc.errors import NktcError, near


@dataclass(frozen=True)
class Code:
    """`says` is the sentence that `nktc explain` lists, `more` what there is to know and to do; `wrong` and
    `right` are parts of a net that has the blobs data [8 3 32 32] and label [8], or whole files, or commands."""

    says: str
    more: str
    wrong: str
    right: str
    warning: bool = False


CODES = {
    "syntax": Code(
        "The text is no prototxt.",
        """
        A field is written name: value, or name { ... }. Texts are in quotes, a comment starts with #. A brace
        that is missing is often noticed only at the end of the file; the notes tell what is open there. What
        follows is read again from the next layer on, so each layer tells its first mistake.
        """,
        wrong="""
        layer { name "r" type: "ReLU" bottom: "data" top: "r" }
        """,
        right="""
        layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
        """,
    ),
    "unknown-field": Code(
        "A message has no field of that name.",
        """
        Often a typing error, or a field in the wrong message: kernel_size belongs in convolution_param, not in
        the layer itself. nktc layers TYPE lists the fields of a type.
        """,
        wrong="""
        layer { name: "c" type: "Convolution" bottom: "data" top: "c"
                convolution_param { num_output: 8 kernal_size: 3 } }
        """,
        right="""
        layer { name: "c" type: "Convolution" bottom: "data" top: "c"
                convolution_param { num_output: 8 kernel_size: 3 } }
        """,
    ),
    "wrong-value": Code(
        "A field is given a value of another kind than it takes.",
        """
        Names of types and blobs are texts in quotes; MAX, TRAIN and their like are words without quotes; a
        count is a whole number.
        """,
        wrong="""
        layer { name: "p" type: "Pooling" bottom: "data" top: "p"
                pooling_param { pool: "MAX" kernel_size: 2 } }
        """,
        right="""
        layer { name: "p" type: "Pooling" bottom: "data" top: "p"
                pooling_param { pool: MAX kernel_size: 2 } }
        """,
    ),
    "given-twice": Code(
        "A field that counts once is given twice.",
        """
        Which of the two is meant? Keep that one. Where a setting differs by axis there are other fields:
        kernel_h and kernel_w.
        """,
        wrong="""
        layer { name: "r" name: "s" type: "ReLU" bottom: "data" top: "r" }
        """,
        right="""
        layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
        """,
    ),
    "missing-field": Code(
        "A message lacks a field that it cannot do without.",
        """
        The field has no default. Give it.
        """,
        wrong="""
        layer { name: "c" type: "Clip" bottom: "data" top: "c" clip_param { min: 0 } }
        """,
        right="""
        layer { name: "c" type: "Clip" bottom: "data" top: "c" clip_param { min: 0 max: 6 } }
        """,
    ),
    "no-effect": Code(
        "A setting stands where Caffe reads and ignores it.",
        """
        In today's spelling a data layer's scale, mean_file, crop_size and mirror are in its transform_param.
        """,
        wrong="""
        layer { name: "d" type: "Data" top: "d" data_param { source: "lmdb" batch_size: 8 scale: 0.1 } }
        """,
        right="""
        layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 8 } } }
        """,
    ),
    "file-missing": Code(
        "A file that is named is not there.",
        """
        The names in a prototxt are looked for beside the prototxt, then in the current folder.
        """,
        wrong="""
        label_file: "nowhere.txt"
        layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
        """,
        right="""
        layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
        """,
    ),
    "file-unreadable": Code(
        "A file is there and cannot be read, or is of another kind than it is taken for.",
        """
        A prototxt is a text; a .caffemodel or a picture is none. Where the system refuses, the message says
        why.
        """,
        wrong="""
        nktc check net.caffemodel
        """,
        right="""
        nktc check net.prototxt
        """,
    ),
    "wrong-file": Code(
        "A solver is given for a net, a net for a solver, or a file that is neither.",
        """
        A net is a list of layer { ... }; a solver names a net and tells how it is trained. Of files of other kinds,
        such as label maps and models of other frameworks, the message says what they are.
        """,
        wrong="""
        nktc train --solver net.prototxt
        """,
        right="""
        nktc train --solver solver.prototxt
        """,
    ),
    "cannot-upgrade": Code(
        "Something in an old spelling has no counterpart in today's.",
        """
        Nets of 2013 and 2014 (layers { ... }, input: ...) are read as Caffe reads them. Caffe refuses some of
        them too: layer and layers in one net, an input without its shape.
        """,
        wrong="""
        layers { name: "r" type: RELU bottom: "data" top: "r" }
        layer { name: "s" type: "ReLU" bottom: "data" top: "s" }
        """,
        right="""
        layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
        layer { name: "s" type: "ReLU" bottom: "data" top: "s" }
        """,
    ),
    "no-layers": Code(
        "The net has no layers, or its rules leave none.",
        """
        A net is a list of layer { ... }. Look at the include and exclude rules.
        """,
        wrong="""
        name: "empty"
        """,
        right="""
        layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
        """,
    ),
    "unknown-type": Code(
        "There is no layer type of that name.",
        """
        Capitals count: ReLU, not Relu. nktc layers lists every type.
        """,
        wrong="""
        layer { name: "r" type: "Relu" bottom: "data" top: "r" }
        """,
        right="""
        layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
        """,
    ),
    "fork-field": Code(
        "A field that a fork of Caffe has asks for what is not supported here.",
        """
        Fields of the forks are read where they mean something here, and passed over where they have no effect
        (fork-no-effect). This one would change what the net computes. docs/dialects.md has a table of all.
        """,
        wrong="""
        layer { name: "s" type: "Scale" bottom: "data" top: "s" scale_param { min_value: 0.1 } }
        """,
        right="""
        layer { name: "s" type: "Scale" bottom: "data" top: "s" scale_param { axis: 1 } }
        """,
    ),
    "dialect": Code(
        "A binary file could be in several dialects of Caffe's schema, and means different things in them.",
        """
        Forks of Caffe gave one number to different fields, and a binary file has numbers alone. Where the file does not
        tell which fork wrote it, nktc does not guess: name the dialect, and go on with the text.
        """,
        wrong="""
        nktc check NET.caffemodel
        """,
        right="""
        nktc upgrade NET.caffemodel --dialect Intel -o NET.prototxt
        """,
    ),
    "no-name": Code(
        "A top has an empty name.",
        """
        Blobs are known by their names, here and in every format that a net is exported to.
        """,
        wrong="""
        layer { name: "r" type: "ReLU" bottom: "data" top: "" }
        """,
        right="""
        layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
        """,
    ),
    "unknown-bottom": Code(
        "A bottom names a blob that no layer before makes.",
        """
        Layers are read in order, and a layer is only there in the phases that its rules name. Look for a typing
        error, for the order of the layers, and for a layer that the other phase alone has.
        """,
        wrong="""
        layer { name: "ip" type: "Flatten" bottom: "data" top: "flat" }
        layer { name: "r" type: "ReLU" bottom: "flaat" top: "r" }
        """,
        right="""
        layer { name: "ip" type: "Flatten" bottom: "data" top: "flat" }
        layer { name: "r" type: "ReLU" bottom: "flat" top: "r" }
        """,
    ),
    "bottom-count": Code(
        "A layer has more or fewer bottoms than its type takes.",
        """
        nktc layers TYPE tells how many. A loss takes what it compares: scores and labels.
        """,
        wrong="""
        layer { name: "l" type: "EuclideanLoss" bottom: "data" top: "l" }
        """,
        right="""
        layer { name: "l" type: "EuclideanLoss" bottom: "data" bottom: "data" top: "l" }
        """,
    ),
    "top-count": Code(
        "A layer has more or fewer tops than its type makes.",
        """
        nktc layers TYPE tells how many.
        """,
        wrong="""
        layer { name: "r" type: "ReLU" bottom: "data" top: "r" top: "s" }
        """,
        right="""
        layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
        """,
    ),
    "top-twice": Code(
        "Two layers make a top of one name.",
        """
        Every blob has one maker; only a layer that works in place, with the same name as bottom and top, may
        write it again. Two data layers of one top each need a rule: include { phase: TRAIN }.
        """,
        wrong="""
        layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
        layer { name: "s" type: "Sigmoid" bottom: "data" top: "r" }
        """,
        right="""
        layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
        layer { name: "s" type: "Sigmoid" bottom: "data" top: "s" }
        """,
    ),
    "in-place": Code(
        "A layer of a type that cannot work in place has its bottom as its top.",
        """
        Only layers whose output has the shape of their input may, such as ReLU, Dropout and BatchNorm. Caffe
        lets a Convolution write over its own input, and computes nonsense.
        """,
        wrong="""
        layer { name: "c" type: "Convolution" bottom: "data" top: "data"
                convolution_param { num_output: 3 kernel_size: 1 } }
        """,
        right="""
        layer { name: "c" type: "Convolution" bottom: "data" top: "c"
                convolution_param { num_output: 3 kernel_size: 1 } }
        """,
    ),
    "include-exclude": Code(
        "A layer has include rules and exclude rules.",
        """
        With include a layer is there when one of its rules holds, with exclude when none does. One kind is
        enough.
        """,
        wrong="""
        layer { name: "r" type: "ReLU" bottom: "data" top: "r" include { phase: TRAIN }
                exclude { phase: TEST } }
        """,
        right="""
        layer { name: "r" type: "ReLU" bottom: "data" top: "r" include { phase: TRAIN } }
        """,
    ),
    "loss-weight": Code(
        "The loss weights of a layer do not match its tops.",
        """
        Give none, or one for each top. A loss with two tops needs both: loss_weight: 1 loss_weight: 0.
        """,
        wrong="""
        layer { name: "r" type: "Reduction" bottom: "data" top: "r" loss_weight: 1 loss_weight: 1 }
        """,
        right="""
        layer { name: "r" type: "Reduction" bottom: "data" top: "r" loss_weight: 1 }
        """,
    ),
    "propagate-down": Code(
        "The propagate_down of a layer do not match its bottoms.",
        """
        Give none, or one for each bottom, true or false.
        """,
        wrong="""
        layer { name: "r" type: "ReLU" bottom: "data" top: "r" propagate_down: true
                propagate_down: false }
        """,
        right="""
        layer { name: "r" type: "ReLU" bottom: "data" top: "r" propagate_down: false }
        """,
    ),
    "param-count": Code(
        "A layer has more param entries than weights.",
        """
        The entries go with the weights in their order: the first with the weight, the second with the bias.
        Where a layer has blobs entries, its values to start from, there is one for each weight.
        """,
        wrong="""
        layer { name: "i" type: "InnerProduct" bottom: "data" top: "i"
                inner_product_param { num_output: 4 bias_term: false }
                param { lr_mult: 1 } param { lr_mult: 2 } }
        """,
        right="""
        layer { name: "i" type: "InnerProduct" bottom: "data" top: "i"
                inner_product_param { num_output: 4 bias_term: false }
                param { lr_mult: 1 } }
        """,
    ),
    "state-learns": Code(
        "A rate is set for something that no gradient reaches.",
        """
        The mean and variance of a BatchNorm are measured, not learned. Set lr_mult: 0, or leave the param
        entries out.
        """,
        wrong="""
        layer { name: "b" type: "BatchNorm" bottom: "data" top: "b" param { lr_mult: 1 } }
        """,
        right="""
        layer { name: "b" type: "BatchNorm" bottom: "data" top: "b" }
        """,
    ),
    "shared-shape": Code(
        "Layers that share a weight need it in two shapes.",
        """
        param { name: ... } makes layers share one weight. Where only the numbers of elements agree, share_mode:
        PERMISSIVE takes it in another shape.
        """,
        wrong="""
        layer { name: "i" type: "InnerProduct" bottom: "data" top: "i" param { name: "w" }
                inner_product_param { num_output: 4 } }
        layer { name: "j" type: "InnerProduct" bottom: "i" top: "j" param { name: "w" }
                inner_product_param { num_output: 4 } }
        """,
        right="""
        layer { name: "i" type: "InnerProduct" bottom: "data" top: "i" param { name: "w" }
                inner_product_param { num_output: 4 } }
        layer { name: "j" type: "InnerProduct" bottom: "data" top: "j" param { name: "w" }
                inner_product_param { num_output: 4 } }
        """,
    ),
    "shared-rate": Code(
        "Layers that share a weight give it two rates.",
        """
        A shared weight has one lr_mult and one decay_mult. Set them once, or alike.
        """,
        wrong="""
        layer { name: "i" type: "InnerProduct" bottom: "data" top: "i"
                inner_product_param { num_output: 4 }
                param { name: "w" lr_mult: 2 } }
        layer { name: "j" type: "InnerProduct" bottom: "data" top: "j"
                inner_product_param { num_output: 4 }
                param { name: "w" lr_mult: 3 } }
        """,
        right="""
        layer { name: "i" type: "InnerProduct" bottom: "data" top: "i"
                inner_product_param { num_output: 4 }
                param { name: "w" lr_mult: 2 } }
        layer { name: "j" type: "InnerProduct" bottom: "data" top: "j"
                inner_product_param { num_output: 4 }
                param { name: "w" } }
        """,
    ),
    "setting": Code(
        "A setting of a layer is missing, out of its range, or contradicts another.",
        """
        It is wrong whatever the layer's inputs are. nktc layers TYPE lists the settings with their defaults.
        """,
        wrong="""
        layer { name: "c" type: "Convolution" bottom: "data" top: "c"
                convolution_param { num_output: 8 kernel_size: 3 stride: 0 } }
        """,
        right="""
        layer { name: "c" type: "Convolution" bottom: "data" top: "c"
                convolution_param { num_output: 8 kernel_size: 3 stride: 1 } }
        """,
    ),
    "shape": Code(
        "The settings of a layer do not go with the shape of its input.",
        """
        The notes tell where the input is made, and how it came to its shape. nktc show lists every shape of a
        net.
        """,
        wrong="""
        layer { name: "p" type: "Pooling" bottom: "data" top: "p"
                pooling_param { pool: MAX kernel_size: 40 } }
        """,
        right="""
        layer { name: "p" type: "Pooling" bottom: "data" top: "p"
                pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
        """,
    ),
    "shape-mismatch": Code(
        "The inputs of a layer do not go together.",
        """
        The notes tell for each input where it is made, and how it came to its shape: look where the two part.
        """,
        wrong="""
        layer { name: "p" type: "Pooling" bottom: "data" top: "p"
                pooling_param { pool: MAX kernel_size: 2 } }
        layer { name: "e" type: "Eltwise" bottom: "data" bottom: "p" top: "e" }
        """,
        right="""
        layer { name: "p" type: "Pooling" bottom: "data" top: "p"
                pooling_param { pool: MAX kernel_size: 3 pad: 1 } }
        layer { name: "e" type: "Eltwise" bottom: "data" bottom: "p" top: "e" }
        """,
    ),
    "too-large": Code(
        "A blob or a weight would hold more than 2147483647 numbers.",
        """
        Neither Caffe nor runtimes that count in 32 bits can address more. Mostly a typing error, or an
        InnerProduct on a large image: pool it first.
        """,
        wrong="""
        layer { name: "i" type: "InnerProduct" bottom: "data" top: "i"
                inner_product_param { num_output: 1000000 } }
        """,
        right="""
        layer { name: "i" type: "InnerProduct" bottom: "data" top: "i"
                inner_product_param { num_output: 1000 } }
        """,
    ),
    "data": Code(
        "A data layer's source does not tell what it feeds.",
        """
        The source is missing, empty, damaged or of another kind than the layer says. nktc check --input-shape
        BLOB=CxHxW checks a net whose data is not here.
        """,
        wrong="""
        layer { name: "d" type: "Dataset" top: "d" dataset_param { name: "digit" batch_size: 8 } }
        """,
        right="""
        layer { name: "d" type: "Dataset" top: "d" dataset_param { name: "digits" batch_size: 8 } }
        """,
    ),
    "python-code": Code(
        "The code of a Python layer may not run, is not found, or fails.",
        """
        A layer of type Python runs code of your own, so it runs only where --allow-python is given: give it for
        nets that you trust. Its module is looked for beside the net, under the working directory, then on the
        Python path. What the code raises is told with its line.
        """,
        wrong="""
        nktc check net.prototxt
        """,
        right="""
        nktc check --allow-python net.prototxt
        """,
    ),
    "input-shape": Code(
        "A shape of --input-shape is for nothing that the net is fed.",
        """
        It names a top of a data layer or Input, or, without a name, is for the first of them.
        """,
        wrong="""
        nktc check --input-shape date=3x224x224 net.prototxt
        """,
        right="""
        nktc check --input-shape data=3x224x224 net.prototxt
        """,
    ),
    "block": Code(
        "A block is declared or used in a way that has no meaning.",
        """
        A block { ... } declares layers with parameters, and a layer whose type is the block's name puts them
        into the net. It has the block's numbers of bottoms and tops, and gives each parameter that has no
        default.
        """,
        wrong="""
        block { name: "unit" parameter { name: "width" } bottom: "x" top: "y"
                layer { name: "i" type: "InnerProduct" bottom: "x" top: "y"
                inner_product_param { num_output: $width } } }
        layer { name: "u" type: "unit" bottom: "data" top: "u" }
        """,
        right="""
        block { name: "unit" parameter { name: "width" } bottom: "x" top: "y"
                layer { name: "i" type: "InnerProduct" bottom: "x" top: "y"
                inner_product_param { num_output: $width } } }
        layer { name: "u" type: "unit" bottom: "data" top: "u" block_param { width: 4 } }
        """,
    ),
    "block-expression": Code(
        "An expression of a block's parameters comes to nothing.",
        """
        $NAME and ${EXPRESSION} know the block's parameters, index, numbers, texts, true and false, arithmetic
        and comparisons.
        """,
        wrong="""
        block { name: "unit" parameter { name: "width" } bottom: "x" top: "y"
                layer { name: "i" type: "InnerProduct" bottom: "x" top: "y"
                inner_product_param { num_output: $widht } } }
        layer { name: "u" type: "unit" bottom: "data" top: "u" block_param { width: 4 } }
        """,
        right="""
        block { name: "unit" parameter { name: "width" } bottom: "x" top: "y"
                layer { name: "i" type: "InnerProduct" bottom: "x" top: "y"
                inner_product_param { num_output: $width } } }
        layer { name: "u" type: "unit" bottom: "data" top: "u" block_param { width: 4 } }
        """,
    ),
    "solver": Code(
        "A setting of a solver is missing, out of its range, or contradicts another.",
        """
        A solver names one training net, base_lr, lr_policy and max_iter, one test_iter a test net, and what its
        lr_policy needs.
        """,
        wrong="""
        net: "net.prototxt" base_lr: 0.01 lr_policy: "step" gamma: 0.1 max_iter: 100
        """,
        right="""
        net: "net.prototxt" base_lr: 0.01 lr_policy: "step" gamma: 0.1 stepsize: 50 max_iter: 100
        """,
    ),
    "diverged": Code(
        "The loss, or a weight, is NaN, infinite, or a million times what it was at first.",
        """
        Mostly the learning rate is too high: lower base_lr, let it rise over warmup_iter iterations, or bound the
        gradients with clip_gradients. Otherwise a layer is given what it has no number for, such as a Log of 0, or
        the data has NaN. The layer that is named is the first to go bad. The state before is saved as
        PREFIX_diverged; max_loss sets another bound for the loss.
        """,
        wrong="""
        nktc train --solver solver.prototxt --set base_lr=1000
        """,
        right="""
        nktc train --solver solver.prototxt --set base_lr=0.01
        """,
    ),
    "unused-top": Code(
        "A net that is trained computes something that nothing takes.",
        """
        Often the next layer names the wrong bottom. What is meant to be left over ends in a Silence layer.
        """,
        wrong="""
        layer { name: "c" type: "InnerProduct" bottom: "data" top: "c"
                inner_product_param { num_output: 4 } }
        layer { name: "r" type: "TanH" bottom: "c" top: "r" }
        layer { name: "l" type: "SoftmaxWithLoss" bottom: "c" bottom: "label" top: "l" }
        """,
        right="""
        layer { name: "c" type: "InnerProduct" bottom: "data" top: "c"
                inner_product_param { num_output: 4 } }
        layer { name: "r" type: "TanH" bottom: "c" top: "r" }
        layer { name: "l" type: "SoftmaxWithLoss" bottom: "r" bottom: "label" top: "l" }
        """,
        warning=True,
    ),
    "no-gradient": Code(
        "A layer has weights to learn, and no loss depends on them.",
        """
        It keeps the weights it starts with. propagate_down: false cuts off all that is before it.
        """,
        wrong="""
        layer { name: "c" type: "InnerProduct" bottom: "data" top: "c"
                inner_product_param { num_output: 4 } }
        layer { name: "s" type: "InnerProduct" bottom: "c" top: "s"
                inner_product_param { num_output: 4 } propagate_down: false }
        layer { name: "l" type: "SoftmaxWithLoss" bottom: "s" bottom: "label" top: "l" }
        """,
        right="""
        layer { name: "c" type: "InnerProduct" bottom: "data" top: "c"
                inner_product_param { num_output: 4 } }
        layer { name: "s" type: "InnerProduct" bottom: "c" top: "s"
                inner_product_param { num_output: 4 } }
        layer { name: "l" type: "SoftmaxWithLoss" bottom: "s" bottom: "label" top: "l" }
        """,
        warning=True,
    ),
    "weightless-loss": Code(
        "All losses of a net have the weight 0, so it learns nothing.",
        """
        loss_weight: 0 keeps a loss to look at; one of a net's losses has another weight.
        """,
        wrong="""
        layer { name: "c" type: "InnerProduct" bottom: "data" top: "c"
                inner_product_param { num_output: 4 } }
        layer { name: "l" type: "SoftmaxWithLoss" bottom: "c" bottom: "label" top: "l" loss_weight: 0 }
        """,
        right="""
        layer { name: "c" type: "InnerProduct" bottom: "data" top: "c"
                inner_product_param { num_output: 4 } }
        layer { name: "l" type: "SoftmaxWithLoss" bottom: "c" bottom: "label" top: "l" }
        """,
        warning=True,
    ),
    "in-place-gradient": Code(
        "A layer in place passes another gradient than its own.",
        """
        Clip, Power, Log and BNLL (and ReLU or ELU with a negative slope) work out their gradient from their input.
        In place the input is overwritten by then, and what Caffe takes for it is the output; Power and Log even
        multiply that by itself rather than by what comes from above. A net trains here as it trained in Caffe. Give
        the layer a top of its own, and the gradient is right.
        """,
        wrong="""
        layer { name: "c" type: "InnerProduct" bottom: "data" top: "c" inner_product_param { num_output: 4 } }
        layer { name: "r" type: "Clip" bottom: "c" top: "c" clip_param { min: 0 max: 6 } }
        layer { name: "l" type: "SoftmaxWithLoss" bottom: "c" bottom: "label" top: "l" }
        """,
        right="""
        layer { name: "c" type: "InnerProduct" bottom: "data" top: "c" inner_product_param { num_output: 4 } }
        layer { name: "r" type: "Clip" bottom: "c" top: "r" clip_param { min: 0 max: 6 } }
        layer { name: "l" type: "SoftmaxWithLoss" bottom: "r" bottom: "label" top: "l" }
        """,
        warning=True,
    ),
    "overwritten": Code(
        "A layer works in place on a blob that another takes as it was before.",
        """
        A bottom names the latest blob of its name, so a layer that stands before the ReLU takes what the ReLU
        then overwrites. Here each gets what it names; Caffe refuses such a net. Give the in-place layer a top of
        its own, or put the other behind it. The same holds for a blob with a loss_weight.
        """,
        wrong="""
        layer { name: "f" type: "Flatten" bottom: "data" top: "f" }
        layer { name: "s" type: "Softmax" bottom: "f" top: "s" }
        layer { name: "r" type: "ReLU" bottom: "f" top: "f" }
        """,
        right="""
        layer { name: "f" type: "Flatten" bottom: "data" top: "f" }
        layer { name: "r" type: "ReLU" bottom: "f" top: "f" }
        layer { name: "s" type: "Softmax" bottom: "f" top: "s" }
        """,
        warning=True,
    ),
    "frozen-random": Code(
        "Weights that start at random do not learn.",
        """
        lr_mult: 0 is for weights that are loaded, with --weights or from a snapshot. Without, they stay as
        random as they were filled.
        """,
        wrong="""
        layer { name: "i" type: "InnerProduct" bottom: "data" top: "i" param { lr_mult: 0 }
                inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
        """,
        right="""
        layer { name: "i" type: "InnerProduct" bottom: "data" top: "i" param { lr_mult: 1 }
                inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
        """,
        warning=True,
    ),
    "unused-filler": Code(
        "A filler is set for a bias that the layer does not have.",
        """
        A Scale has a bias with bias_term: true alone; a Convolution has one unless bias_term: false.
        """,
        wrong="""
        layer { name: "s" type: "Scale" bottom: "data" top: "s"
                scale_param { bias_filler { value: 1 } } }
        """,
        right="""
        layer { name: "s" type: "Scale" bottom: "data" top: "s"
                scale_param { bias_term: true bias_filler { value: 1 } } }
        """,
        warning=True,
    ),
    "same-name": Code(
        "Two layers of a net have one name.",
        """
        Weight files and snapshots know layers by name, so the weights of one would be loaded into both.
        """,
        wrong="""
        layer { name: "a" type: "ReLU" bottom: "data" top: "r" }
        layer { name: "a" type: "TanH" bottom: "r" top: "t" }
        """,
        right="""
        layer { name: "a" type: "ReLU" bottom: "data" top: "r" }
        layer { name: "b" type: "TanH" bottom: "r" top: "t" }
        """,
        warning=True,
    ),
    "rule-never-holds": Code(
        "The conditions of an include or exclude rule exclude each other.",
        """
        All conditions of one rule have to hold; of several rules one is enough.
        """,
        wrong="""
        layer { name: "r" type: "ReLU" bottom: "data" top: "r"
                exclude { stage: "deploy" not_stage: "deploy" } }
        """,
        right="""
        layer { name: "r" type: "ReLU" bottom: "data" top: "r" exclude { stage: "deploy" } }
        """,
        warning=True,
    ),
    "fork-no-effect": Code(
        "A field that a fork of Caffe has does nothing here.",
        """
        It chooses among that fork's ways to compute the same: precisions, algorithms, threads, memory. One warning a
        file names them all. So does one where a binary file has fields that are of no known fork.
        """,
        wrong="""
        layer { name: "r" type: "ReLU" bottom: "data" top: "r" forward_type: FLOAT16 }
        """,
        right="""
        layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
        """,
        warning=True,
    ),
    "old-spelling": Code(
        "The net is written for an older Caffe.",
        """
        It is read as Caffe reads it. nktc upgrade FILE writes it in today's spelling.
        """,
        wrong="""
        input: "x" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
        """,
        right="""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
        """,
        warning=True,
    ),
}


def table() -> str:
    """Every code with what it says."""
    width = max(map(len, CODES))
    lines: list[str] = []
    for title, warning in (("errors:", False), ("warnings, which never stop anything:", True)):
        lines += ["", title] if lines else [title]
        lines += [f"  {name:<{width}}  {code.says}" for name, code in sorted(CODES.items()) if code.warning is warning]
    return "\n".join(lines)


def explain(name: str) -> str:
    """What a code means, with an example. Raises NktcError for what is none, with a near one."""
    name = name.strip("[]")
    if name not in CODES:
        raise NktcError(f'no code "{name}"', help=near(name, CODES) or "nktc explain lists the codes there are")
    code = CODES[name]
    wrong, right = (textwrap.indent(inspect.cleandoc(text), "  ") for text in (code.wrong, code.right))
    kind = "warning" if code.warning else "error"
    return f"{name} ({kind}): {code.says}\n\n{inspect.cleandoc(code.more)}\n\nwrong:\n{wrong}\n\nright:\n{right}"
